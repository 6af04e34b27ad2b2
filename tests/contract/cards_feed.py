"""The stream: ticks and order updates, what arrives twice, late or never, sockets that die or go mute, and subscriptions that follow."""

import msgspec

from core.events import FeedStatus, OrderUpdate
from core.types import Kind, Order, OrderState, SessionState, Side, Tick
from tests.contract.card import card
from tests.contract.kit import Kit
from tests.contract.stage import Heard, Stage

FEED, UPDATES = "the feed", "order updates"


@card(FEED, "a share, a future, an option and an index tick, with our prices")
def _ticks(stage: Stage) -> None:
    asked = [stage.share, stage.future, stage.option, stage.index]
    heard = stage.feed(*asked)
    heard.confirmed()
    assert heard.any(FeedStatus).connected
    for instrument in asked:
        tick = heard.any(Tick, lambda tick, wanted=instrument: tick.instrument == wanted)  # type: ignore[misc]
        assert abs(tick.price - stage.last(instrument)) < 0.05 * tick.price


@card(FEED, "a future's tick carries book, volume and the exchange's time")
def _full(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    tick = heard.following(Tick, lambda tick: tick.volume > 0)
    assert 0 < tick.bid < tick.ask
    assert tick.bid_quantity > 0
    assert tick.ask_quantity > 0
    assert tick.exchange_at is not None
    assert abs((tick.exchange_at - stage.clock.now()).total_seconds()) < 120


@card(FEED, "what is subscribed later ticks too")
def _later(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    heard.feed.subscribe([stage.share])
    heard.following(Tick, lambda tick: tick.instrument == stage.share)


@card(FEED, "what is unsubscribed ticks no more")
def _unsubscribed(stage: Stage) -> None:
    heard = stage.feed(stage.future, stage.share)
    heard.confirmed()
    heard.feed.unsubscribe([stage.share])
    heard.following(Tick, lambda tick: tick.instrument == stage.future)
    seen = len(heard.events)
    for _ in range(4):
        heard.following(Tick, lambda tick: tick.instrument == stage.future)
    assert not [one for one in heard.events[seen:] if isinstance(one, Tick) and one.instrument == stage.share]


def _lost(stage: Stage, heard: Heard) -> FeedStatus:
    return heard.following(FeedStatus, lambda status: not status.connected)


def _again(stage: Stage, heard: Heard, *, after: int) -> None:
    """Connected anew, and everything that is wanted ticks again."""
    stage.until(lambda: [one for one in heard.events[after:] if isinstance(one, FeedStatus) and one.connected])
    heard.confirmed()
    heard.following(Tick, lambda tick: tick.instrument == stage.future)


@card(FEED, "the socket drops: told, connected anew, everything subscribed again", feed="socket")
def _drop(stage: Stage) -> None:
    heard = stage.feed(stage.future, stage.share)
    heard.confirmed()
    seen = len(heard.events)
    stage.fault("drop_socket", count=2 if stage.kit.orders_socket else 1)
    _lost(stage, heard)
    _again(stage, heard, after=seen)


@card(FEED, "the socket is reset: the same", feed="socket")
def _reset(stage: Stage) -> None:
    heard = stage.feed(stage.future, stage.share)
    heard.confirmed()
    seen = len(heard.events)
    stage.fault("drop_socket", count=2 if stage.kit.orders_socket else 1, reset=True)
    _lost(stage, heard)
    _again(stage, heard, after=seen)


@card(FEED, "three drops in a row: it still comes back", feed="socket")
def _drops(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    for _ in range(3):
        heard.confirmed()
        seen = len(heard.events)
        stage.fault("drop_socket", count=2 if stage.kit.orders_socket else 1)
        _lost(stage, heard)
        _again(stage, heard, after=seen)


@card(FEED, "the socket goes mute: silence is noticed, a new one is made", feed="socket")
def _mute(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    seen = len(heard.events)
    stage.fault("mute_socket", count=2 if stage.kit.orders_socket else 1, seconds=600.0)
    assert "silent" in _lost(stage, heard).reason
    _again(stage, heard, after=seen)


@card(FEED, "told to reconnect, it does")
def _reconnect(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    seen = len(heard.events)
    heard.feed.reconnect("a card says so")
    assert "a card says so" in _lost(stage, heard).reason
    _again(stage, heard, after=seen)


@card(FEED, "bytes that are no frame: counted, the connection lives on", feed="socket")
def _garbage(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    before = sum(heard.feed.counts.values())
    stage.fault("garbage_frame", hex="0affffffffff", count=2 if stage.kit.orders_socket else 1)
    stage.until(lambda: sum(heard.feed.counts.values()) > before)
    heard.following(Tick)
    assert all(status.connected for status in heard.of(FeedStatus))


@card(FEED, "a frame cut short: counted, never a wrong price", feed="socket")
def _truncated(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    stage.fault("truncated_frame", count=2 if stage.kit.orders_socket else 1)
    stage.until(lambda: stage.struck() >= 1)
    for _ in range(2):
        heard.following(Tick)
    last = stage.last(stage.future)
    assert all(abs(tick.price - last) < 0.05 * last for tick in heard.of(Tick))
    assert all(status.connected for status in heard.of(FeedStatus))


@card(FEED, "a tick of an instrument nobody asked for: counted, not passed on", feed="socket")
def _stranger(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    stage.fault("unknown_token", count=2 if stage.kit.orders_socket else 1)
    stage.until(lambda: any("unknown" in reason for reason in heard.feed.counts))
    heard.following(Tick)
    assert {tick.instrument for tick in heard.of(Tick)} == {stage.future}


def _dead_feed(kit: Kit) -> str:
    if kit.feed == "poll":
        return "polls go on with the token that the session renews"
    return "its sockets live on; the next handshake needs a new token" if kit.alive_feed else "closed; no attempt until a login"


@card(FEED, "the token dies: the feed waits for a login and comes back by itself", says=_dead_feed)
def _dead(stage: Stage) -> None:
    heard = stage.feed(stage.future)
    heard.confirmed()
    seen, old = len(heard.events), stage.session.token()
    stage.kill_token()
    if stage.kit.feed == "poll":
        stage.until(lambda: stage.session.token() != old)
        for _ in range(3):
            heard.following(Tick)
        heard.confirmed()
        return
    if stage.kit.alive_feed:
        heard.following(Tick)
        heard.feed.reconnect("a card says so")
    _lost(stage, heard)
    if not stage.kit.renews:
        stage.until(lambda: stage.session.state() is SessionState.LOGIN_REQUIRED)
        handshakes = len(stage.served.simulator.requests)
        stage.pass_(30.0)
        stage.clock.quiet()
        assert len(stage.served.simulator.requests) - handshakes <= 2, "no storm of handshakes"
        stage.session.auto_login(stage.login_page)
    _again(stage, heard, after=seen)


@card(FEED, "an instrument that today's file lacks: the others tick on")
def _unlisted(stage: Stage) -> None:
    gone = msgspec.structs.replace(stage.future, key="NFO:NIFTY26OCTFUT", symbol="NIFTY26OCTFUT")
    heard = stage.feed(stage.share, gone)
    heard.following(Tick, lambda tick: tick.instrument == stage.share)
    assert gone.key in heard.feed.desired
    assert gone.key not in heard.feed.confirmed


@card(FEED, "sixty instruments on one connection")
def _many(stage: Stage) -> None:
    asked = [one for one in stage.lookup.tokens.values() if one.kind in (Kind.CALL, Kind.PUT)][:60]
    heard = stage.feed(*asked)
    stage.until(lambda: len(heard.feed.confirmed) >= 50)
    assert len(heard.feed.desired) == 60


@card(FEED, "stopped: told once more, its threads end, nothing is sent after")
def _stopped(stage: Stage) -> None:
    heard = _listening(stage)
    heard.feed.stop()
    assert heard.feed.join(10.0)  # type: ignore[attr-defined]
    seen = len(heard.events)
    stage.pass_(5.0)
    assert len(heard.events) == seen
    assert heard.feed.silent_for == float("inf")


# --- order updates ----------------------------------------------------------------------------------------------------------------------


def _reason(kit: Kit) -> str:
    return "yes" if kit.reasons_by_stream else "the reason is in the book alone"


def _dated(kit: Kit) -> str:
    return "yes" if kit.dates_updates else "its filled quantity alone: this broker dates no change"


def _listening(stage: Stage) -> Heard:
    """A feed whose order updates are on."""
    heard = stage.feed(stage.future)
    heard.confirmed()
    if stage.kit.feed == "poll":
        stage.pass_(5.0)  # the list has been read once
        stage.clock.quiet()
        return heard
    streams = stage.served.simulator.streams
    wanted = 2 if stage.kit.orders_socket else 1
    stage.until(lambda: stage.served.run(streams.open_of, lambda stream: True) >= wanted)
    for _ in range(20):  # an open socket may not be logged in yet: somebody else's orders tell when it is
        if heard.of(OrderUpdate):
            break
        stage.foreign(stage.future, Side.BUY, price=stage.far(stage.future, Side.BUY))
        heard.following(Tick)
    return heard


def _update(stage: Stage, heard: Heard, order: Order, state: OrderState) -> OrderUpdate:
    return heard.any(OrderUpdate, lambda update: stage.mine(update, order) and update.state is state)


@card(UPDATES, "our order's way comes by the feed: working, then filled")
def _way(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    working = _update(stage, heard, order, OrderState.WORKING)
    source = "poll" if stage.kit.feed == "poll" else "stream"
    assert (working.broker_order_id, working.source, working.instrument) == (order.broker_order_id, source, order.instrument)
    stage.fill(order, order.quantity)
    filled = _update(stage, heard, order, OrderState.FILLED)
    assert filled.filled == order.quantity
    assert abs(filled.average_price - order.limit_price) < 1e-6


@card(UPDATES, "a partial fill comes by the feed")
def _part(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order(quantity=stage.future.lot * 2))
    stage.fill(order, stage.future.lot)
    update = heard.any(OrderUpdate, lambda update: stage.mine(update, order) and update.filled == stage.future.lot)
    assert update.state is OrderState.WORKING


@card(UPDATES, "a rejection comes by the feed, with its reason", says=_reason)
def _rejection(stage: Stage) -> None:
    heard = _listening(stage)
    stage.fault("reject", message="RMS:Blocked for a card")
    order = stage.place(stage.order())
    told = _update(stage, heard, order, OrderState.REJECTED)
    assert "Blocked for a card" in (told if stage.kit.reasons_by_stream else stage.row(order)).reason


@card(UPDATES, "a cancel comes by the feed")
def _cancel(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    stage.broker.cancel(order)
    stage.settle()
    assert _update(stage, heard, order, OrderState.CANCELLED).filled == 0


@card(UPDATES, "a change comes by the feed, with the new price")
def _change(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    price = stage.at(stage.future, 0.985)
    stage.broker.modify(order, quantity=order.quantity, limit_price=price, trigger_price=None)
    stage.settle()
    update = heard.any(OrderUpdate, lambda update: stage.mine(update, order) and abs(update.limit_price - price) < 1e-6)
    assert update.broker_order_id == order.broker_order_id


@card(UPDATES, "a stop's waiting comes by the feed as TRIGGER_PENDING")
def _stop(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.stop_order())
    assert _update(stage, heard, order, OrderState.TRIGGER_PENDING).trigger_price is not None


@card(UPDATES, "an order of another tool comes by the feed, without a tag")
def _foreign(stage: Stage) -> None:
    heard = _listening(stage)
    theirs = stage.foreign(stage.future, Side.BUY)
    update = heard.any(
        OrderUpdate, lambda update: update.broker_order_id == stage.kit.order_id(theirs) and update.state is OrderState.FILLED
    )
    assert update.tag is None


@card(UPDATES, "an update that is sent twice is told twice, the same: to count it once is the engine's", feed="socket")
def _twice(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    stage.fault("duplicate_update", match={"tag": order.tag})
    stage.fill(order, order.quantity)

    def filled() -> list[OrderUpdate]:
        return [one for one in heard.of(OrderUpdate) if stage.mine(one, order) and one.state is OrderState.FILLED]

    stage.until(lambda: len(filled()) >= 2)
    first, second = (msgspec.structs.replace(one, at=order.created_at) for one in filled()[:2])
    assert first == second


@card(UPDATES, "an update that comes late brings its own older time and filled quantity", says=_dated, feed="socket")
def _late(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order(quantity=stage.future.lot * 2))
    stage.fault("late_update", match={"tag": order.tag}, seconds=5.0)
    stage.fill(order, stage.future.lot)
    stage.pass_(2.0)
    stage.fill(order, stage.future.lot)
    filled = _update(stage, heard, order, OrderState.FILLED)
    late = heard.any(OrderUpdate, lambda update: stage.mine(update, order) and update.filled == stage.future.lot)
    assert heard.events.index(late) > heard.events.index(filled)
    if not stage.kit.dates_updates:
        assert late.exchange_at is None
        return
    assert late.exchange_at is not None
    assert filled.exchange_at is not None
    assert late.exchange_at <= filled.exchange_at


@card(UPDATES, "an update that never comes: the book has it", feed="socket")
def _never(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    stage.fault("drop_update", match={"tag": order.tag})
    stage.fill(order, order.quantity)
    stage.pass_(3.0)
    assert not [one for one in heard.of(OrderUpdate) if stage.mine(one, order) and one.state is OrderState.FILLED]
    assert stage.row(order).state is OrderState.FILLED


@card(UPDATES, "filled while the socket was away: the book has it, and later updates come again", feed="socket")
def _away(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    stage.fault("drop_socket", count=2 if stage.kit.orders_socket else 1)
    _lost(stage, heard)
    stage.fill(order, order.quantity)
    assert stage.row(order).state is OrderState.FILLED
    heard.confirmed()
    seen = len(heard.of(OrderUpdate))
    for _ in range(20):
        if len(heard.of(OrderUpdate)) > seen:
            break
        stage.foreign(stage.future, Side.BUY, price=stage.far(stage.future, Side.BUY))
        heard.following(Tick)
    following = stage.place(stage.order())
    assert _update(stage, heard, following, OrderState.WORKING)


@card(UPDATES, "the feed and the book say the same of an order")
def _same(stage: Stage) -> None:
    heard = _listening(stage)
    order = stage.place(stage.order())
    stage.fill(order, order.quantity)
    told, row = _update(stage, heard, order, OrderState.FILLED), stage.row(order)
    for name in ("broker_order_id", "instrument", "side", "quantity", "filled", "tag", "product", "order_type", "state"):
        assert getattr(told, name) == getattr(row, name), name
