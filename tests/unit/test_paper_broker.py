"""Paper fills are as honest as the data: nothing from nothing, never better than the market showed, and every refusal has its words."""

from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from core.clock import ManualClock
from core.events import Action, Books, OrderUpdate, Outcome, Reply, Timer
from core.types import (
    Account,
    AccountKind,
    Bar,
    Fill,
    Instrument,
    Kind,
    Order,
    OrderState,
    OrderType,
    Side,
    Tick,
    Validity,
)
from execution_engine.order_state import merge, move, replied
from execution_engine.paper_broker import PaperBroker
from execution_engine.paper_rules import MarginRates
from execution_engine.portfolio import Portfolio
from tests.builders import DAY, NIFTY, RELIANCE, T0, NoCharges, at, make_order


class Hours:
    """Open from 09:30 to 15:30, whatever the instrument."""

    def is_open(self, instrument: Instrument, at: datetime) -> bool:
        return (9, 30) <= (at.hour, at.minute) < (15, 30)


class Desk:
    """The order side of an engine, as small as can be: it keeps its orders by the state table and books what they fill."""

    def __init__(self, capital: float = 10_000_000.0, rates: MarginRates | None = None) -> None:
        self.clock = ManualClock(T0)
        self.account = Account(name="practice", kind=AccountKind.PRACTICE, broker="zerodha", capital=capital)
        self.rates = rates
        self.paper = PaperBroker(self.account, self.clock, sessions=Hours(), rates=rates)
        self.orders: dict[str, Order] = {}
        self.portfolio = Portfolio("practice", NoCharges())
        self.portfolio.start_day(DAY)
        self.count = 0
        self.replies: list[Reply] = []
        self.fills: list[Fill] = []

    def place(self, **changes: Any) -> Order:
        self.count += 1
        terms: dict[str, Any] = {"id": f"o{self.count}", "tag": f"TAG{self.count:013}", "created_at": self.clock.now()}
        order = move(make_order(**(terms | changes)), OrderState.SENDING, self.clock.now())
        self.orders[order.id] = order
        self.paper.place(order)
        self.take()
        return self.orders[order.id]

    def tick(self, seconds: float, price: float, **changes: Any) -> list[OrderUpdate]:
        moment = at(seconds)
        self.clock.move_to(moment)
        self.paper.on_market(msgspec.structs.replace(Tick(instrument=NIFTY, at=moment, price=price), **changes))
        return self.take()

    def bar(self, minute: int, open_: float, high: float, low: float, close: float, **changes: Any) -> list[OrderUpdate]:
        start = T0 + timedelta(minutes=minute)
        end = start + timedelta(minutes=5)
        self.clock.move_to(end)
        self.paper.on_market(msgspec.structs.replace(Bar(NIFTY, start, end, 5, open_, high, low, close), **changes))
        return self.take()

    def take(self) -> list[OrderUpdate]:
        updates = []
        for event in self.paper.drain():
            if isinstance(event, Reply):
                self.replies.append(event)
                merged = replied(self.orders[event.order_id], event)
            else:
                assert isinstance(event, OrderUpdate)
                updates.append(event)
                mine = next(order for order in self.orders.values() if order.tag == event.tag)
                merged = merge(mine, event)
                booked = [self.portfolio.book(mine, trade) for trade in event.trades]
                self.fills += [fill for fill in booked if fill is not None]
            assert merged.anomaly == ""
            self.orders[merged.order.id] = merged.order
        return updates

    def books(self) -> Books:
        self.paper.read_books(positions=True)
        [books] = self.paper.drain()
        assert isinstance(books, Books)
        return books


def filled(updates: list[OrderUpdate]) -> list[tuple[int, float]]:
    return [(trade.quantity, trade.price) for update in updates for trade in update.trades]


# --- ticks ---------------------------------------------------------------------------------------------------------------------------


def test_nothing_fills_on_the_event_that_bore_it() -> None:
    desk = Desk()
    desk.tick(1, 24_990.0, ask=24_990.0, bid=24_989.0)
    order = desk.place()
    assert order.state is OrderState.WORKING
    assert desk.tick(1, 24_990.0, ask=24_990.0, bid=24_989.0) == []
    assert filled(desk.tick(2, 24_990.0, ask=24_990.0, bid=24_989.0)) == [(130, 24_990.0)]
    assert desk.orders[order.id].state is OrderState.FILLED


@pytest.mark.parametrize(
    ("side", "limit", "bid", "ask", "last", "price"),
    [
        (Side.BUY, 25_000.0, 24_998.0, 24_999.0, 24_998.5, 24_999.0),  # the ask, better than the limit
        (Side.BUY, 25_000.0, 24_999.0, 25_000.0, 24_999.0, 25_000.0),  # the ask, at the limit
        (Side.BUY, 25_000.0, 25_000.0, 25_001.0, 24_990.0, None),  # the last price is not an offer
        (Side.BUY, 25_000.0, 0.0, 0.0, 24_997.0, 24_997.0),  # no book in the feed: the last price
        (Side.BUY, 25_000.0, 0.0, 0.0, 25_000.1, None),
        (Side.BUY, 25_000.0, 24_990.0, 0.0, 24_990.0, None),  # nobody sells (upper circuit)
        (Side.SELL, 25_000.0, 25_002.0, 25_003.0, 25_002.0, 25_002.0),
        (Side.SELL, 25_000.0, 24_999.0, 25_003.0, 25_002.0, None),
        (Side.SELL, 25_000.0, 0.0, 25_000.0, 25_000.0, None),  # nobody buys (lower circuit)
        (Side.SELL, 25_000.0, 0.0, 0.0, 25_000.0, 25_000.0),
    ],
)
def test_a_limit_trades_at_the_touched_side_or_not_at_all(
    side: Side, limit: float, bid: float, ask: float, last: float, price: float | None
) -> None:
    desk = Desk()
    desk.place(side=side, limit_price=limit)
    assert filled(desk.tick(1, last, bid=bid, ask=ask)) == ([] if price is None else [(130, price)])


def test_the_size_shown_is_all_that_fills_and_the_rest_rests() -> None:
    desk = Desk()
    order = desk.place()
    assert filled(desk.tick(1, 24_999.0, bid=24_998.0, ask=24_999.0, ask_quantity=65)) == [(65, 24_999.0)]
    assert (desk.orders[order.id].state, desk.orders[order.id].filled) == (OrderState.WORKING, 65)
    assert filled(desk.tick(2, 24_999.0, bid=24_999.0, ask=25_001.0, ask_quantity=500)) == []
    assert filled(desk.tick(3, 25_000.0, bid=24_999.0, ask=25_000.0, ask_quantity=40)) == [(40, 25_000.0)]
    assert filled(desk.tick(4, 25_000.0, bid=24_999.0, ask=25_000.0, ask_quantity=40)) == [(25, 25_000.0)]
    assert desk.orders[order.id].average_price == pytest.approx((65 * 24_999.0 + 65 * 25_000.0) / 130)


def test_two_orders_share_the_size_of_one_tick_in_order_of_arrival() -> None:
    desk = Desk()
    first, second = desk.place(), desk.place()
    desk.tick(1, 24_999.0, bid=24_998.0, ask=24_999.0, ask_quantity=195)
    assert (desk.orders[first.id].filled, desk.orders[second.id].filled) == (130, 65)


def test_trades_through_a_resting_limit_fill_it_at_its_limit_up_to_what_was_traded() -> None:
    desk = Desk()
    desk.place()
    assert filled(desk.tick(1, 24_995.0, bid=25_001.0, ask=25_002.0, volume=1_000)) == []  # may have traded before it was there
    assert filled(desk.tick(2, 24_995.0, bid=25_001.0, ask=25_002.0, volume=1_000)) == []  # nothing traded
    assert filled(desk.tick(3, 25_000.0, bid=25_001.0, ask=25_002.0, volume=1_010)) == []  # touching is not enough
    assert filled(desk.tick(4, 24_999.9, bid=25_001.0, ask=25_002.0, volume=1_060)) == [(50, 25_000.0)]
    assert filled(desk.tick(5, 24_999.9, bid=25_001.0, ask=25_002.0, volume=9_060)) == [(80, 25_000.0)]


def test_a_tick_outside_continuous_trading_fills_nothing() -> None:
    desk = Desk()
    desk.place()
    assert desk.tick(6 * 3600, 24_000.0, bid=23_999.0, ask=24_000.0) == []


def test_only_ticks_and_bars_of_an_open_market_are_heard() -> None:
    desk = Desk()
    desk.place()
    desk.paper.on_market(Timer(at(1), "square_off", at(1)))
    assert desk.bar(6 * 60, 24_000.0, 24_000.0, 24_000.0, 24_000.0) == []
    assert desk.orders["o1"].state is OrderState.WORKING


def test_a_stop_fires_on_the_last_price_and_then_is_a_limit() -> None:
    desk = Desk()
    stop = desk.place(side=Side.SELL, order_type=OrderType.SL, trigger_price=24_950.0, limit_price=24_940.0)
    assert stop.state is OrderState.TRIGGER_PENDING
    assert desk.tick(1, 24_951.0, bid=24_940.0, ask=24_952.0) == []
    fired = desk.tick(2, 24_950.0, bid=24_930.0, ask=24_951.0)
    assert [update.state for update in fired] == [OrderState.WORKING]
    assert desk.tick(3, 24_960.0, bid=24_939.9, ask=24_961.0) == []
    assert filled(desk.tick(4, 24_960.0, bid=24_940.0, ask=24_961.0)) == [(130, 24_940.0)]


def test_a_stop_that_fires_may_fill_on_the_book_after_the_print() -> None:
    desk = Desk()
    desk.place(order_type=OrderType.SL, trigger_price=25_050.0, limit_price=25_060.0)
    updates = desk.tick(1, 25_052.0, bid=25_051.0, ask=25_053.0)
    assert [update.state for update in updates] == [OrderState.WORKING, OrderState.FILLED]
    assert filled(updates) == [(130, 25_053.0)]


def test_the_rest_of_an_ioc_is_cancelled_after_its_first_event() -> None:
    desk = Desk()
    order = desk.place(validity=Validity.IOC)
    desk.tick(1, 24_999.0, bid=24_998.0, ask=24_999.0, ask_quantity=65)
    assert (desk.orders[order.id].state, desk.orders[order.id].filled) == (OrderState.CANCELLED, 65)
    missed = desk.place(validity=Validity.IOC)
    desk.tick(2, 25_010.0, bid=25_009.0, ask=25_010.0)
    assert (desk.orders[missed.id].state, desk.orders[missed.id].filled) == (OrderState.CANCELLED, 0)


def test_trade_time_is_the_exchanges_and_ids_come_from_the_tag() -> None:
    desk = Desk()
    order = desk.place()
    [update] = desk.tick(2.7, 24_999.0, bid=24_998.0, ask=24_999.0, ask_quantity=65, exchange_at=at(2))
    [trade] = update.trades
    assert (trade.at, update.at) == (at(2), at(2.7))
    assert (update.broker_order_id, trade.id) == (f"P{order.tag}", f"P{order.tag}-65")


# --- bars ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "limit", "bar", "price"),
    [
        (Side.BUY, 25_000.0, (24_990.0, 25_020.0, 24_980.0, 25_010.0), 24_990.0),  # next open, better than the limit
        (Side.BUY, 25_000.0, (25_010.0, 25_020.0, 24_990.0, 25_015.0), 25_000.0),  # the bar went through it
        (Side.BUY, 25_000.0, (25_010.0, 25_020.0, 25_000.0, 25_015.0), None),  # touched only
        (Side.SELL, 25_000.0, (25_010.0, 25_020.0, 24_980.0, 24_990.0), 25_010.0),
        (Side.SELL, 25_000.0, (24_990.0, 25_020.0, 24_980.0, 24_990.0), 25_000.0),
        (Side.SELL, 25_000.0, (24_990.0, 25_000.0, 24_980.0, 24_990.0), None),
    ],
)
def test_a_limit_on_the_next_bar(side: Side, limit: float, bar: tuple[float, float, float, float], price: float | None) -> None:
    desk = Desk()
    desk.place(side=side, limit_price=limit)
    assert filled(desk.bar(0, *bar)) == ([] if price is None else [(130, price)])


@pytest.mark.parametrize(
    ("side", "trigger", "limit", "bar", "price"),
    [
        (Side.SELL, 24_950.0, 24_900.0, (24_990.0, 25_000.0, 24_940.0, 24_980.0), 24_949.9),  # one tick worse than its trigger
        (Side.SELL, 24_950.0, 24_900.0, (24_990.0, 25_000.0, 24_950.0, 24_980.0), 24_950.0),  # never beyond the extreme
        (Side.SELL, 24_950.0, 24_950.0, (24_990.0, 25_000.0, 24_940.0, 24_980.0), 24_950.0),  # never beyond its limit
        (Side.SELL, 24_950.0, 24_900.0, (24_920.0, 24_930.0, 24_910.0, 24_915.0), 24_920.0),  # gapped: the open
        (Side.SELL, 24_950.0, 24_940.0, (24_920.0, 24_930.0, 24_910.0, 24_915.0), None),  # gapped beyond its limit: rests
        (Side.SELL, 24_950.0, 24_940.0, (24_920.0, 24_945.0, 24_910.0, 24_915.0), 24_940.0),  # and trades when the bar comes back
        (Side.SELL, 24_950.0, 24_900.0, (24_990.0, 25_000.0, 24_951.0, 24_980.0), None),  # not fired
        (Side.BUY, 25_050.0, 25_100.0, (25_000.0, 25_060.0, 24_990.0, 25_000.0), 25_050.1),
        (Side.BUY, 25_050.0, 25_100.0, (25_070.0, 25_080.0, 25_060.0, 25_075.0), 25_070.0),
        (Side.BUY, 25_050.0, 25_100.0, (25_000.0, 25_049.0, 24_990.0, 25_000.0), None),
    ],
)
def test_a_stop_on_the_next_bar(
    side: Side, trigger: float, limit: float, bar: tuple[float, float, float, float], price: float | None
) -> None:
    desk = Desk()
    desk.place(side=side, order_type=OrderType.SL, trigger_price=trigger, limit_price=limit)
    assert filled(desk.bar(0, *bar)) == ([] if price is None else [(130, price)])


def test_an_order_born_inside_a_bar_sees_only_its_close() -> None:
    desk = Desk()
    desk.clock.move_to(at(60))
    desk.place()
    assert filled(desk.bar(0, 24_900.0, 25_020.0, 24_880.0, 24_999.0)) == [(130, 24_999.0)]
    desk.clock.move_to(at(360))
    late = desk.place()
    desk.bar(5, 24_900.0, 25_020.0, 24_880.0, 25_001.0)
    assert desk.orders[late.id].filled == 0


def test_an_order_born_at_a_bars_close_does_not_fill_on_that_bar() -> None:
    desk = Desk()
    desk.clock.move_to(at(300))
    desk.place()
    assert desk.bar(0, 24_900.0, 24_900.0, 24_900.0, 24_900.0) == []
    assert filled(desk.bar(5, 24_950.0, 24_950.0, 24_950.0, 24_950.0)) == [(130, 24_950.0)]


def test_within_one_bar_the_stop_comes_before_the_limit() -> None:
    desk = Desk()
    target = desk.place(side=Side.SELL, limit_price=25_050.0)
    stop = desk.place(side=Side.SELL, order_type=OrderType.SL, trigger_price=24_950.0, limit_price=24_900.0)
    updates = desk.bar(0, 25_000.0, 25_100.0, 24_900.0, 25_000.0)
    assert [update.tag for update in updates if update.trades] == [stop.tag, target.tag]


def test_a_bar_fills_no_more_than_it_traded_and_a_warm_up_bar_nothing() -> None:
    desk = Desk()
    order = desk.place()
    assert desk.bar(0, 24_990.0, 24_990.0, 24_990.0, 24_990.0, warmup=True) == []
    assert filled(desk.bar(5, 24_990.0, 24_990.0, 24_990.0, 24_990.0, volume=65)) == [(65, 24_990.0)]
    assert desk.orders[order.id].state is OrderState.WORKING
    ioc = desk.place(validity=Validity.IOC, limit_price=24_000.0)
    desk.bar(10, 24_990.0, 24_990.0, 24_990.0, 24_990.0)
    assert desk.orders[ioc.id].state is OrderState.CANCELLED


# --- refusals ------------------------------------------------------------------------------------------------------------------------

OPTION = msgspec.structs.replace(
    NIFTY, key="NFO:NIFTY26NOV25000CE", symbol="NIFTY26NOV25000CE", kind=Kind.CALL, strike=25_000.0, tick_size=0.05
)
INDEX = Instrument(key="NSE:NIFTY 50", exchange="NSE", symbol="NIFTY 50", kind=Kind.INDEX, underlying="NIFTY")
EXPIRED = msgspec.structs.replace(NIFTY, expiry=date(2026, 11, 19))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantity": 100}, "multiple of the lot size 65"),
        ({"quantity": 0}, "multiple of the lot size 65"),
        ({"quantity": 1_820}, "exceeds the freeze quantity 1755"),
        ({"limit_price": 25_000.05}, "Tick size for this script is 0.1."),
        ({"limit_price": 0.0}, "needs a price above 0"),
        ({"limit_price": float("nan")}, "needs a price above 0"),
        ({"order_type": OrderType.SL, "trigger_price": None}, "needs a price above 0"),
        ({"order_type": OrderType.SL, "trigger_price": 24_990.05}, "Tick size for this script is 0.1."),
        ({"order_type": OrderType.SL, "trigger_price": 25_000.1}, "cannot be above its price"),
        ({"order_type": OrderType.SL, "trigger_price": 24_900.0}, "should be above LTP (24950.0)"),
        ({"order_type": OrderType.SL, "trigger_price": 24_900.0, "side": Side.SELL}, "cannot be below its price"),
        ({"order_type": OrderType.SL, "trigger_price": 25_000.0, "side": Side.SELL}, "should be below LTP (24950.0)"),
        ({"order_type": OrderType.MARKET}, "without market protection are not allowed"),
        ({"order_type": OrderType.SL_M}, "without market protection are not allowed"),
        ({"instrument": EXPIRED}, "has either expired or does not exist"),
        ({"instrument": INDEX}, "has either expired or does not exist"),
    ],
)
def test_what_a_broker_would_refuse_is_refused_in_its_words(changes: dict[str, Any], words: str) -> None:
    desk = Desk()
    desk.tick(1, 24_950.0)
    order = desk.place(**changes)
    assert order.state is OrderState.REJECTED
    assert words in order.reason
    assert desk.books().orders == ()


def test_a_closed_market_refuses() -> None:
    desk = Desk()
    desk.clock.move_to(at(6 * 3600))
    order = desk.place()
    assert (order.state, order.broker_order_id) == (OrderState.REJECTED, None)
    assert "Markets are closed right now" in order.reason


def test_one_intent_is_one_order() -> None:
    desk = Desk()
    first = desk.place()
    second = desk.place(tag=first.tag)
    assert "is in the book already" in second.reason


# --- margin --------------------------------------------------------------------------------------------------------------------------


def test_an_order_beyond_the_money_is_acknowledged_and_then_rejected() -> None:
    desk = Desk(capital=480_000.0)
    order = desk.place()  # 130 x 25,000 x 15 % = 487,500
    assert (order.state, order.broker_order_id) == (OrderState.REJECTED, f"P{order.tag}")
    assert order.reason.startswith("Insufficient funds. Required margin is 487500.00 but available margin is 480000.00.")


def test_positions_and_resting_orders_block_and_what_closes_does_not() -> None:
    desk = Desk(capital=1_000_000.0)
    first = desk.place()
    assert desk.paper.available() == 512_500.0
    second = desk.place()
    assert desk.paper.available() == 25_000.0
    assert desk.place(quantity=65).state is OrderState.REJECTED
    desk.tick(1, 25_000.0, bid=24_999.0, ask=25_000.0)
    assert [desk.orders[order.id].state for order in (first, second)] == [OrderState.FILLED] * 2
    exit_ = desk.place(side=Side.SELL, quantity=260, limit_price=25_010.0)
    assert (exit_.state, desk.paper.available()) == (OrderState.WORKING, 25_000.0)
    assert desk.place(side=Side.SELL, quantity=65).state is OrderState.REJECTED  # the exit closes all there is; this would open
    desk.tick(2, 25_011.0, bid=25_010.0, ask=25_011.0)
    assert desk.paper.available() == 1_002_600.0


def test_rates_by_kind_horizon_and_side() -> None:
    rates = MarginRates()
    carry, intraday = make_order().horizon.CARRY, make_order().horizon.INTRADAY
    assert rates.blocked(RELIANCE, intraday, Side.BUY, 10, 1_000.0) == 2_000.0
    assert rates.blocked(RELIANCE, carry, Side.BUY, 10, 1_000.0) == 10_000.0
    assert rates.blocked(OPTION, intraday, Side.BUY, 65, 100.0) == 6_500.0
    assert rates.blocked(OPTION, intraday, Side.SELL, 65, 100.0) == pytest.approx(0.15 * 65 * 25_000)


# --- commands ------------------------------------------------------------------------------------------------------------------------


def modify(desk: Desk, order: Order, **terms: Any) -> tuple[Reply, Order]:
    desk.orders[order.id] = move(desk.orders[order.id], OrderState.PENDING_MODIFY, desk.clock.now())
    asked = {"quantity": order.quantity, "limit_price": order.limit_price, "trigger_price": order.trigger_price} | terms
    desk.paper.modify(desk.orders[order.id], **asked)
    desk.take()
    return desk.replies[-1], desk.orders[order.id]


def test_a_modified_order_meets_only_later_events_at_its_new_terms() -> None:
    desk = Desk()
    order = desk.place(limit_price=24_000.0)
    desk.tick(1, 24_999.0, bid=24_998.0, ask=24_999.0)
    reply, changed = modify(desk, order, limit_price=25_000.0)
    assert (reply.outcome, changed.state, changed.limit_price) == (Outcome.ACK, OrderState.WORKING, 25_000.0)
    assert desk.tick(1, 24_999.0, bid=24_998.0, ask=24_999.0) == []
    assert filled(desk.tick(2, 24_999.0, bid=24_998.0, ask=24_999.0)) == [(130, 24_999.0)]


def test_a_stop_without_a_trigger_becomes_the_exit() -> None:
    desk = Desk()
    stop = desk.place(side=Side.SELL, order_type=OrderType.SL, trigger_price=24_950.0, limit_price=24_940.0)
    _, changed = modify(desk, stop, trigger_price=None, limit_price=24_990.0)
    assert changed.state is OrderState.WORKING
    assert filled(desk.tick(1, 25_000.0, bid=24_999.0, ask=25_001.0)) == [(130, 24_999.0)]


def test_refused_modifications_leave_the_order_as_it_was() -> None:
    desk = Desk(capital=500_000.0)
    order = desk.place()
    for terms, words in (
        ({"quantity": 100}, "multiple of the lot size"),
        ({"limit_price": 25_000.05}, "Tick size"),
        ({"quantity": 260}, "Insufficient funds"),
        ({"quantity": 0}, "cannot be modified"),
    ):
        reply, kept = modify(desk, order, **terms)
        assert (reply.outcome, kept.state, kept.quantity) == (Outcome.REJECT, OrderState.WORKING, 130)
        assert words in reply.reason
    for number in range(25):
        desk.clock.advance(1)
        assert modify(desk, order, limit_price=24_000.0 + number)[0].outcome is Outcome.ACK
    assert "modifications exceeded" in modify(desk, order, limit_price=25_000.0)[0].reason


def test_cancel_ends_a_resting_order_and_is_refused_for_an_ended_one() -> None:
    desk = Desk()
    order = desk.place()
    desk.paper.cancel(order)
    assert [update.state for update in desk.take()] == [OrderState.CANCELLED]
    assert desk.tick(1, 24_000.0) == []
    desk.paper.cancel(desk.orders[order.id])
    [reply] = desk.paper.drain()
    assert isinstance(reply, Reply)
    assert (reply.action, reply.outcome, reply.error) == (Action.CANCEL, Outcome.REJECT, "Rejected")


def test_day_orders_expire_with_the_session() -> None:
    desk = Desk()
    order = desk.place()
    desk.tick(1, 25_000.0, bid=24_999.0, ask=25_000.0, ask_quantity=65)
    desk.paper.end_of_day(at(6 * 3600))
    [update] = desk.take()
    assert (update.state, desk.orders[order.id].state, update.filled) == (OrderState.EXPIRED, OrderState.EXPIRED, 65)
    assert desk.paper.drain() == []


# --- books and restart ---------------------------------------------------------------------------------------------------------------


def test_books_are_complete_and_agree_with_the_portfolio() -> None:
    desk = Desk()
    desk.place()
    desk.place(limit_price=24_000.0)
    desk.tick(1, 25_000.0, bid=24_999.0, ask=25_000.0)
    books = desk.books()
    assert [row.state for row in books.orders] == [OrderState.FILLED, OrderState.WORKING]
    assert [trade.quantity for trade in books.trades] == [130]
    assert books.positions is not None
    assert [(held.quantity, held.average_price, held.last_price) for held in books.positions] == [(130, 25_000.0, 25_000.0)]
    assert (books.error, books.asked_at) == ("", at(1))
    desk.paper.read_books(positions=False)
    [lean] = desk.paper.drain()
    assert isinstance(lean, Books)
    assert lean.positions is None
    desk.clock.advance(86_400)
    assert [row.limit_price for row in desk.books().orders] == [24_000.0]  # a broker's book holds today only


def test_after_a_restart_the_ledgers_word_is_all_there_is() -> None:
    desk = Desk()
    desk.place()
    part = desk.place(limit_price=24_990.0)
    desk.tick(1, 25_000.0, bid=24_999.0, ask=25_000.0, ask_quantity=1_000)
    desk.tick(2, 24_990.0, bid=24_989.0, ask=24_990.0, ask_quantity=65)
    armed = desk.place(side=Side.SELL, order_type=OrderType.SL, trigger_price=24_950.0, limit_price=24_940.0)
    cancelling = desk.place(limit_price=24_000.0)
    desk.orders[cancelling.id] = move(desk.orders[cancelling.id], OrderState.PENDING_CANCEL, at(2))
    lost = move(make_order(id="lost", tag="LOST"), OrderState.SENDING, at(2))
    old = msgspec.structs.replace(desk.orders[part.id], id="old", tag="OLD", broker_order_id="POLD", created_at=T0 - timedelta(days=1))
    before = desk.books()
    desk.orders |= {"lost": lost, "old": old}
    available = desk.paper.available()
    desk.paper = PaperBroker(desk.account, desk.clock, sessions=Hours())
    yesterday = msgspec.structs.replace(desk.fills[0], at=T0 - timedelta(days=1))
    desk.paper.restore(list(desk.orders.values()), positions=desk.portfolio.positions(), fills=[yesterday, *desk.fills])
    desk.take()
    assert desk.orders["lost"].state is OrderState.REJECTED
    assert "before this order reached" in desk.orders["lost"].reason
    assert desk.orders["old"].state is OrderState.EXPIRED
    after = desk.books()
    assert [(row.broker_order_id, row.state, row.filled) for row in after.orders if row.tag not in ("LOST", "OLD")] == [
        (row.broker_order_id, row.state, row.filled) for row in before.orders
    ]
    assert after.positions is not None
    assert [held.quantity for held in after.positions] == [195]
    assert desk.paper.available() == pytest.approx(available)
    assert [trade.id for trade in after.trades] == [trade.id for trade in before.trades]
    updates = desk.tick(3, 24_950.0, bid=24_949.0, ask=24_951.0)
    assert [(update.tag, update.state) for update in updates] == [
        (part.tag, OrderState.FILLED),
        (armed.tag, OrderState.WORKING),
        (armed.tag, OrderState.FILLED),
    ]
    assert desk.portfolio.position("trend", NIFTY) == 130


# --- whatever happens ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(some.lists(some.tuples(some.integers(0, 5), some.integers(-30, 30), some.integers(0, 300), some.booleans()), max_size=60))
def test_whatever_happens_fills_are_within_limits_and_the_books_agree(steps: list[tuple[int, int, int, bool]]) -> None:
    desk = Desk()
    for number, (what, ticks, size, buys) in enumerate(steps):
        price = round(25_000.0 + ticks / 10, 1)
        side = Side.BUY if buys else Side.SELL
        if what == 0:
            desk.place(side=side, limit_price=price)
        elif what == 1:
            trigger = round(price - side.sign * 0.1, 1)
            desk.place(side=side, order_type=OrderType.SL, limit_price=price, trigger_price=trigger)
        elif what == 2:
            for order in list(desk.orders.values())[-1:]:
                desk.paper.cancel(order)
                desk.take()
        else:
            for update in desk.tick(number + 1, price, bid=price, ask=round(price + 0.1, 1), bid_quantity=size, ask_quantity=size):
                for trade in update.trades:
                    assert trade.price <= update.limit_price if trade.side is Side.BUY else trade.price >= update.limit_price
    books = desk.books()
    assert books.positions is not None
    assert sum(held.quantity for held in books.positions) == desk.portfolio.position("trend", NIFTY)
    for row in books.orders:
        order = next(order for order in desk.orders.values() if order.tag == row.tag)
        assert (order.state, order.filled) == (row.state, row.filled)
        assert (
            order.filled == sum(trade.quantity for trade in books.trades if trade.broker_order_id == row.broker_order_id) <= order.quantity
        )
