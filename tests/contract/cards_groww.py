"""What is Groww's alone: a reference that may be used once, and a feed that asks."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import msgspec
import pytest

from core.errors import Rejected, Unknown
from core.events import FeedStatus, OrderUpdate
from core.types import OrderState, Side, Tick
from simulators.groww_limits import MOST, kind_of
from tests.contract.card import CARDS, Card, Play, Says, yes
from tests.contract.cards_feed import FEED, UPDATES
from tests.contract.kit import Kit
from tests.contract.stage import Heard, Stage

REFERENCE = "the reference rule"
POLLS, LOOK_UP = "GET /v1/live-data/*", "GET /v1/order/status/reference/*"


def _card(area: str, name: str, *, says: Says = yes) -> Callable[[Play], Play]:
    def keep(play: Play) -> Play:
        CARDS.append(Card(area, name, play, says, of="groww", feed="" if area == REFERENCE else "poll"))
        return play

    return keep


# --- the reference ----------------------------------------------------------------------------------------------------------------------


def _the_same(kit: Kit) -> str:
    return "the id of the order that was taken"


@_card(REFERENCE, "the same order twice: the order that was taken, and no second one", says=_the_same)
def _twice(stage: Stage) -> None:
    order = stage.order()
    first = stage.place(order)
    assert stage.broker.place(order) == first.broker_order_id
    assert len(stage.at_broker(order.tag)) == 1


@_card(REFERENCE, "its reply was lost after the booking: the same reference again finds it", says=_the_same)
def _lost(stage: Stage) -> None:
    order = stage.order()
    stage.fault("drop_reply", stage.kit.routes.place)
    with pytest.raises(Unknown):
        stage.broker.place(order)
    (booked,) = stage.at_broker(order.tag)
    assert stage.broker.place(order) == booked.id
    stage.settle()
    assert (stage.row(order).state, len(stage.at_broker(order.tag))) == (OrderState.WORKING, 1)


@_card(REFERENCE, "it filled meanwhile: still the order that was taken", says=_the_same)
def _filled(stage: Stage) -> None:
    order = stage.filled()
    assert stage.broker.place(order) == order.broker_order_id
    assert stage.at_broker(order.tag)[0].filled == order.quantity


@_card(REFERENCE, "it was changed meanwhile by another tool: still the order that was taken", says=_the_same)
def _changed(stage: Stage) -> None:
    order = stage.place(stage.order())
    booked = stage.at_broker(order.tag)[0]
    stage.served.run(stage.served.exchange.modify, stage.user, booked.id, stage.clock.now(), quantity=stage.future.lot * 2)
    stage.settle()
    assert stage.broker.place(order) == order.broker_order_id


@_card(REFERENCE, "a used reference whose order cannot be asked for just now", says=lambda kit: "UNKNOWN")
def _no_look_up(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.fault("server_error", LOOK_UP)
    with pytest.raises(Unknown, match="asking for it failed"):
        stage.broker.place(order)
    assert len(stage.at_broker(order.tag)) == 1


@_card(REFERENCE, "a used reference whose order is not found", says=lambda kit: "UNKNOWN")
def _not_found(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.fault("error", LOOK_UP, status=404, error_type="GA004", message="Requested entity does not exist")
    with pytest.raises(Unknown, match="asking for it failed"):
        stage.broker.place(order)


def _other(name: str, stage: Stage) -> None:
    theirs = stage.place(stage.order())
    changes = {"side": {"side": Side.SELL, "limit_price": stage.far(stage.future, Side.SELL)}, "instrument": {}}[name]
    ours = stage.order(stage.option if name == "instrument" else stage.future, **changes)
    with pytest.raises(Rejected, match="another order"):
        stage.broker.place(msgspec.structs.replace(ours, tag=theirs.tag))
    assert len(stage.at_broker(theirs.tag)) == 1


for _name in ("side", "instrument"):
    CARDS.append(
        Card(
            REFERENCE,
            f"a used reference of an order with another {_name}: never taken for ours",
            partial(_other, _name),
            lambda kit: "turned down for certain",
            of="groww",
        )
    )


@_card(REFERENCE, "what was turned down at the door has not used its reference")
def _free_again(stage: Stage) -> None:
    order = stage.order()
    with pytest.raises(Rejected, match="lot"):
        stage.broker.place(msgspec.structs.replace(order, quantity=order.quantity + 1))
    assert stage.row(stage.place(order)).state is OrderState.WORKING


def _bad_reference(tag: str, stage: Stage) -> None:
    with pytest.raises(Rejected, match="tag"):
        stage.broker.place(stage.order(tag=tag))
    assert stage.sent() == []


for _tag in ("SEVENXX", "A-B-C-D-E-F", "HAS A SPACE", "UNDER_SCORE"):
    CARDS.append(
        Card(REFERENCE, f"{_tag!r} as a reference", partial(_bad_reference, _tag), lambda kit: "refused unsent", of="groww"),
    )


@_card(REFERENCE, "eight characters, and two hyphens, are a reference")
def _good_reference(stage: Stage) -> None:
    for tag in ("EIGHTXX8", "Ab-6543-8190"):
        order = stage.place(stage.order(tag=tag))
        assert (stage.row(order).tag, stage.row(order).state) == (tag, OrderState.WORKING)


# --- prices by poll ---------------------------------------------------------------------------------------------------------------------


def _many(stage: Stage, count: int) -> Heard:
    """A feed of the future and `count` - 1 options."""
    options = [one for one in stage.lookup.tokens.values() if one.is_option]
    return stage.feed(stage.future, *options[: count - 1])


def _statuses(heard: Heard) -> list[bool]:
    return [status.connected for status in heard.of(FeedStatus)]


def _back(stage: Stage, heard: Heard, why: str) -> None:
    """Told as a break for this reason, and then as healed, with prices."""
    lost = heard.following(FeedStatus, lambda status: not status.connected)
    assert why in lost.reason
    seen = len(heard.events)
    stage.until(lambda: [one for one in heard.events[seen:] if isinstance(one, FeedStatus) and one.connected])
    heard.confirmed()


@_card(FEED, "429 to a poll: told as a break, asked again after a pause")
def _too_many(stage: Stage) -> None:
    heard = _many(stage, 1)
    heard.confirmed()
    stage.fault("rate_limit", POLLS)
    before = stage.clock.monotonic()
    _back(stage, heard, "429")
    assert stage.clock.monotonic() - before >= 2.0
    assert stage.broker.place(stage.order()), "orders have a limit of their own"


def _one_bad(fault: str, stage: Stage) -> None:
    heard = _many(stage, 1)
    heard.confirmed()
    stage.fault(fault, POLLS)
    stage.until(lambda: stage.struck() == 1)
    for _ in range(2):
        heard.following(Tick)
    assert _statuses(heard) == [True]
    assert sum(heard.feed.counts.values()) >= 1


def _mute(fault: str, stage: Stage) -> None:
    heard = _many(stage, 1)
    heard.confirmed()
    stage.fault(fault, POLLS, count=12)
    _back(stage, heard, "no answer for")


for _fault, _words in {
    "drop_reply": "the connection breaks",
    "server_error": "502 in HTML",
    "empty_body": "an empty body",
    "broken_json": "half a JSON",
}.items():
    for _name, _play in {"one poll": _one_bad, "polls for longer than silence may last": _mute}.items():
        CARDS.append(
            Card(
                FEED,
                f"{_name}: {_words}",
                partial(_play, _fault),
                (lambda kit: "counted; the next one is asked for") if _play is _one_bad else (lambda kit: "a break, and back by itself"),
                of="groww",
                feed="poll",
            )
        )


def _within(count: int, stage: Stage) -> None:
    """Two minutes of a feed beside books and prices that are read as fast as they may be."""
    heard = _many(stage, count)
    began = stage.clock.now()
    while stage.clock.now() < began + timedelta(seconds=120):
        stage.broker.orders()
        stage.broker.positions()
        stage.broker.last_prices([stage.share])
        for _ in range(10):
            stage.pass_(0.5)
            stage.clock.quiet()
    asked = [one for one in stage.served.simulator.requests if datetime.fromisoformat(one["at"]) >= began]
    assert {one["status"] for one in asked} == {200}
    assert _statuses(heard) == [True]
    minutes = Counter((kind_of(one["path"]), datetime.fromisoformat(one["at"]).replace(second=0)) for one in asked)
    assert all(0 < found <= MOST[kind][1][1] for (kind, _), found in minutes.items())
    assert heard.feed.confirmed == heard.feed.desired


for _count in (1, 4, 30):
    CARDS.append(
        Card(
            FEED, f"{_count} instruments: polls and books together keep below the limits", partial(_within, _count), of="groww", feed="poll"
        )
    )


@_card(FEED, "each of sixty instruments has a price that is at most four seconds old")
def _fresh(stage: Stage) -> None:
    heard = _many(stage, 60)
    heard.confirmed()
    for _ in range(3):
        began = stage.clock.now()
        for _ in range(8):
            stage.pass_(0.5)
            stage.clock.quiet()
        assert len({tick.instrument.key for tick in heard.of(Tick) if tick.at >= began}) == 60


@_card(FEED, "a price that stands still grows no younger, however often it is asked for")
def _still(stage: Stage) -> None:
    heard = _many(stage, 6)
    heard.confirmed()
    stage.served.run(stage.served.exchange.halt, True)
    stage.pass_(5.0)
    seen = len(heard.events)
    for _ in range(20):
        heard.following(Tick)
    stood = {tick.exchange_at for tick in heard.events[seen:] if isinstance(tick, Tick) and tick.instrument == stage.future}
    assert all(at is not None and at < stage.clock.now() - timedelta(seconds=4) for at in stood if stood)


@_card(FEED, "last prices between quotes: the day's volume never goes back, and no old bid is told as new")
def _volume(stage: Stage) -> None:
    heard = _many(stage, 6)
    heard.confirmed()
    for _ in range(30):
        heard.following(Tick)
    ticks = [tick for tick in heard.of(Tick) if tick.instrument == stage.future]
    volumes = [tick.volume for tick in ticks]
    assert volumes == sorted(volumes)
    assert volumes[-1] > 0
    assert {tick.bid > 0 for tick in ticks} == {True, False}, "quotes have a book, last prices have none"


# --- order states by poll ---------------------------------------------------------------------------------------------------------------


def _reading(stage: Stage) -> Heard:
    """A feed that has read the order list."""
    heard = stage.feed(stage.future)
    heard.confirmed()
    stage.pass_(5.0)
    stage.clock.quiet()
    return heard


def _told(stage: Stage, heard: Heard, tag: str) -> list[OrderUpdate]:
    return [one for one in heard.of(OrderUpdate) if one.tag == tag]


@_card(UPDATES, "what has not changed is not told again")
def _unchanged(stage: Stage) -> None:
    heard = _reading(stage)
    order = stage.place(stage.order())
    stage.until(lambda: _told(stage, heard, order.tag))
    stage.pass_(5.0)
    stage.clock.quiet()
    told = len(heard.of(OrderUpdate))
    for _ in range(10):
        stage.pass_(1.0)
        stage.clock.quiet()
    assert len(heard.of(OrderUpdate)) == told
    assert [one.state for one in _told(stage, heard, order.tag)][-1] is OrderState.WORKING


@_card(UPDATES, "placed, filled and done between two reads: told once, as filled")
def _between(stage: Stage) -> None:
    heard = _reading(stage)
    stage.fault("server_error", stage.kit.routes.orders, count=3)
    order = stage.place(stage.order())
    stage.fill(order, order.quantity)
    stage.until(lambda: _told(stage, heard, order.tag))
    assert [one.state for one in _told(stage, heard, order.tag)] == [OrderState.FILLED]


@_card(UPDATES, "the order list cannot be read for a while: prices go on, and nothing is lost")
def _no_list(stage: Stage) -> None:
    heard = _reading(stage)
    order = stage.place(stage.order())
    stage.until(lambda: _told(stage, heard, order.tag))
    stage.fault("drop_reply", stage.kit.routes.orders, count=4)
    stage.fill(order, order.quantity)
    heard.following(Tick)
    assert heard.any(OrderUpdate, lambda one: one.tag == order.tag and one.state is OrderState.FILLED).filled == order.quantity
    assert _statuses(heard) == [True]


@_card(UPDATES, "a list that lags tells an older state with its own older time")
def _lagging(stage: Stage) -> None:
    heard = _reading(stage)
    order = stage.place(stage.order())
    stage.pass_(10.0)
    stage.fill(order, order.quantity)
    filled = heard.any(OrderUpdate, lambda one: one.tag == order.tag and one.state is OrderState.FILLED)
    seen = len(heard.events)
    stage.fault("lagging_book", stage.kit.routes.orders, seconds=6.0, count=1)

    def late() -> list[OrderUpdate]:
        return [one for one in heard.events[seen:] if isinstance(one, OrderUpdate) and one.tag == order.tag]

    stage.until(lambda: len(late()) == 2)
    assert [one.state for one in late()] == [OrderState.WORKING, OrderState.FILLED]
    assert filled.exchange_at is not None
    older = late()[0].exchange_at
    assert older is not None
    assert older <= filled.exchange_at


@_card(UPDATES, "a stop that waits while a hundred later orders come and go is still told when it ends")
def _behind(stage: Stage) -> None:
    heard = _reading(stage)
    order = stage.place(stage.order())
    stage.until(lambda: _told(stage, heard, order.tag))
    for _ in range(101):
        theirs = stage.foreign(stage.future, Side.BUY, price=stage.far(stage.future, Side.BUY))
        stage.pass_(0.3)
        stage.served.run(stage.served.exchange.cancel, stage.user, theirs.id, stage.clock.now())
    stage.pass_(5.0)
    stage.fill(order, order.quantity)
    assert heard.any(OrderUpdate, lambda one: one.tag == order.tag and one.state is OrderState.FILLED, 10.0).filled == order.quantity
