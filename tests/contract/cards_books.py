"""What the broker holds: books that sum up, orders of other tools, the broker's own square-off, and the market data beside them."""

from datetime import date, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest

from core.errors import BrokerError, NiyamError, Rejected, SessionExpired, Transient
from core.events import Books, ChargesTold
from core.ports import ChargeSource, HoldingSource, OrderwiseTrades
from core.types import IST, Horizon, Kind, Order, OrderState, Position, Purpose, SessionState, Side
from execution_engine.delivered import Delivered
from execution_engine.portfolio import Portfolio
from tests.contract.card import CARDS, Card, card
from tests.contract.kit import Kit
from tests.contract.stage import Stage
from tests.fakes import MemoryStore
from utils.config_loader import load_charges

BOOKS, DATA, DAYS = "books", "market data", "over the night"
TODAY = datetime(2026, 11, 20, tzinfo=IST)


# --- books ------------------------------------------------------------------------------------------------------------------------------


@card(BOOKS, "a day that has only begun: every book is empty, and that is an answer", alone=True)
def _empty(stage: Stage) -> None:
    assert stage.broker.orders() == ()
    assert stage.broker.trades() == ()
    assert stage.broker.positions() == ()
    assert stage.broker.funds().available > 0


@card(BOOKS, "empty positions on a dead token are no empty positions: SessionExpired", alone=True)
def _empty_and_dead(stage: Stage) -> None:
    assert stage.broker.positions() == ()
    stage.kill_token()
    with pytest.raises(SessionExpired):
        stage.broker.positions()


def _held(horizon: Horizon, kind: Kind, stage: Stage) -> None:
    instrument, product = stage.of(kind), stage.kit.products[horizon, kind]
    before = stage.position(instrument, product)
    order = stage.filled(instrument, horizon=horizon)
    rows = [row for row in stage.broker.positions() if row.instrument == instrument and row.product == product]
    assert sum(row.quantity for row in rows) == before + order.quantity
    assert all(row.average_price > 0 and (row.last_price > 0) is stage.kit.marks_positions for row in rows)
    assert stage.spec.horizon_of(product) is (Horizon.CARRY if stage.kit.intraday_is_carried else horizon)


def _product(horizon: Horizon, kind: Kind, kit: Kit) -> str:
    return kit.products[horizon, kind]


for _horizon in Horizon:
    for _kind, _words in {Kind.EQUITY: "a share", Kind.FUTURE: "a future", Kind.CALL: "an option"}.items():
        CARDS.append(Card(BOOKS, f"{_words} held {_horizon.value}", partial(_held, _horizon, _kind), partial(_product, _horizon, _kind)))


def _two(kit: Kit) -> str:
    return "yes" if kit.products[Horizon.INTRADAY, Kind.EQUITY] != kit.products[Horizon.CARRY, Kind.EQUITY] else "one product: one row"


@card(BOOKS, "the same share in two products: two rows, never netted", says=_two)
def _two_products(stage: Stage) -> None:
    intraday, carry = (stage.kit.products[horizon, Kind.EQUITY] for horizon in (Horizon.INTRADAY, Horizon.CARRY))
    if intraday == carry:
        stage.filled(stage.share, horizon=Horizon.CARRY)
        assert len([row for row in stage.broker.positions() if row.instrument == stage.share]) == 1
        return
    before = stage.position(stage.share, intraday), stage.position(stage.share, carry)
    stage.filled(stage.share, horizon=Horizon.CARRY)
    stage.filled(stage.share, side=Side.SELL)
    assert stage.position(stage.share, carry) == before[1] + 10
    assert stage.position(stage.share, intraday) == before[0] - 10


@card(BOOKS, "closed today: a row of quantity 0, which is evidence", alone=True)
def _closed(stage: Stage) -> None:
    stage.filled()
    stage.filled(side=Side.SELL)
    rows = [row for row in stage.broker.positions() if row.instrument == stage.future]
    assert [row.quantity for row in rows] == [0]


@card(BOOKS, "an order of another tool is in the book, without a tag of ours")
def _foreign(stage: Stage) -> None:
    before = stage.position(stage.future)
    mine, theirs = stage.place(stage.order()), stage.foreign(stage.future, Side.BUY)
    stage.until(lambda: theirs.filled == theirs.quantity)
    (row,) = [row for row in stage.broker.orders() if row.broker_order_id == stage.kit.order_id(theirs)]
    assert (row.tag, row.state, row.filled) == (None, OrderState.FILLED, theirs.quantity)
    assert row.broker_order_id != mine.broker_order_id
    assert stage.position(stage.future) == before + theirs.quantity
    assert sum(trade.quantity for trade in stage.broker.trades() if trade.broker_order_id == stage.kit.order_id(theirs)) == theirs.quantity


@card(BOOKS, "after a restart, executions that the ledger has cost no request of their own, and later ones are told", alone=True)
def _booked_before(stage: Stage) -> None:
    before = [stage.filled(), stage.filled(side=Side.SELL)]
    stage.restarted(*before)
    stage.broker.orders()
    asked = len(stage.asked())
    known = stage.broker.trades()
    if isinstance(stage.broker, OrderwiseTrades):
        assert known == ()
        assert not [route for route in stage.asked()[asked:] if "trade" in route]
    later = stage.filled()
    stage.pass_(2.0)  # a book may lag behind the exchange
    number = stage.row(later).broker_order_id
    stage.broker.orders()
    assert sum(trade.quantity for trade in stage.broker.trades() if trade.broker_order_id == number) == later.quantity


@card(BOOKS, "another tool cancels our order: cancelled, by the book")
def _cancelled_elsewhere(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.served.run(stage.served.exchange.cancel, stage.user, stage.at_broker(order.tag)[0].id, stage.clock.now())
    stage.settle()
    assert stage.row(order).state is OrderState.CANCELLED


@card(BOOKS, "another tool changes our order: the book's quantity and price count")
def _changed_elsewhere(stage: Stage) -> None:
    order = stage.place(stage.order())
    price = stage.at(stage.future, 0.985)
    stage.served.run(
        stage.served.exchange.modify,
        stage.user,
        stage.at_broker(order.tag)[0].id,
        stage.clock.now(),
        quantity=stage.future.lot * 2,
        price=price,
    )
    stage.settle()
    row = stage.row(order)
    assert (row.state, row.quantity) == (OrderState.WORKING, stage.future.lot * 2)
    assert row.limit_price == pytest.approx(price)


@card(BOOKS, "an instrument that today's file lacks keeps its row")
def _unlisted_row(stage: Stage) -> None:
    future = stage.future
    stage.foreign(future, Side.BUY)
    stage.until(lambda: stage.position(future) != 0)
    whole = stage.lookup
    stage.lookup = whole.without(future.key)
    try:
        rows = [row for row in stage.broker.positions() if row.instrument.exchange == "NFO" and row.instrument.kind is Kind.FUTURE]
        assert [row.quantity for row in rows if row.quantity] != []
        assert stage.broker.orders()
    finally:
        stage.lookup = whole


@card(BOOKS, "funds: what may be used goes down with an order that needs margin")
def _funds(stage: Stage) -> None:
    before = stage.broker.funds()
    stage.filled(horizon=Horizon.CARRY, quantity=stage.future.lot * 10)
    stage.pass_(2.0)
    after = stage.broker.funds()
    assert after.available < before.available
    assert after.used > before.used


@card(BOOKS, "the books agree with the exchange's own, order by order")
def _agree(stage: Stage) -> None:
    stage.filled()
    stage.place(stage.order())
    rows = {row.broker_order_id: row for row in stage.broker.orders()}
    orders = {stage.kit.order_id(order): order for order in stage.account.orders.values()}
    assert rows.keys() == orders.keys()
    assert all((rows[one].filled, rows[one].quantity) == (order.filled, order.quantity) for one, order in orders.items())
    trades = {(trade.instrument.exchange, trade.id): trade.quantity for trade in stage.broker.trades()}
    assert sum(trades.values()) == sum(order.filled for order in orders.values())


# --- charges ----------------------------------------------------------------------------------------------------------------------------

TOLD = load_charges()["told"]
LINES = {"brokerage": "brokerage", "stt": "transaction_tax", "txn": "exchange_turnover", "sebi": "sebi", "stamp": "stamp", "gst": "gst"}


def _told(stage: Stage, order: Order, found: ChargesTold) -> None:
    """What came over the wire is what the exchange's own formula says, within the broker's rounding."""
    product = "MIS" if order.horizon is Horizon.INTRADAY else "CNC" if order.instrument.kind is Kind.EQUITY else "NRML"
    terms = (order.instrument.key, order.side.value, product, order.filled, order.average_price)
    costs = stage.served.run(stage.served.exchange.order_charges, *terms)
    near = TOLD[stage.kit.name]["paise"] / 100 + 1e-6
    assert found.total == pytest.approx(costs.total, abs=near)
    assert set(found.lines) - {"other"} == (set(LINES) if stage.kit.names_charges else set())
    assert all(found.lines[ours] == pytest.approx(getattr(costs, theirs), abs=near) for ours, theirs in LINES.items() if found.lines)


def _charged(kit: Kit) -> str:
    return "line by line" if kit.names_charges else "the sum alone"


@card(BOOKS, "what executed orders cost: shares delivered, futures and options, bought and sold, each its own", says=_charged)
def _costs(stage: Stage) -> None:
    assert isinstance(stage.broker, ChargeSource)
    orders = [stage.executed(one, side=side) for one in (stage.future, stage.option) for side in Side]
    orders += [stage.executed(stage.share, side=side, horizon=Horizon.CARRY) for side in Side]
    found = stage.broker.order_charges(orders)
    assert list(found) == [order.id for order in orders]
    for order in orders:
        _told(stage, order, found[order.id])


def _shares_of_the_day(kit: Kit) -> str:
    return "not asked: it would be told delivery's" if kit.charges_deliver_shares else "yes"


@card(BOOKS, "what shares bought and sold the same day cost", says=_shares_of_the_day)
def _costs_of_day(stage: Stage) -> None:
    order, before = stage.executed(stage.share), len(stage.served.simulator.requests)
    found = stage.broker.order_charges([order])
    if stage.kit.charges_deliver_shares:
        assert found == {}
        assert len(stage.served.simulator.requests) == before
        return
    _told(stage, order, found[order.id])


@card(BOOKS, "what an instrument costs that today's file has not: left out or told by its name, and the others are told")
def _costs_unlisted(stage: Stage) -> None:
    gone, held = stage.executed(stage.future), stage.executed(stage.option)
    whole = stage.lookup
    stage.lookup = whole.without(gone.instrument.key)
    try:
        found = stage.broker.order_charges([gone, held])
    finally:
        stage.lookup = whole
    assert held.id in found
    assert set(found) <= {gone.id, held.id}


def _by_broker(kit: Kit) -> str:
    return "no intraday product: the broker closes nothing, we do" if kit.intraday_is_carried else "yes"


@card(BOOKS, "squared off by the broker: its own order closes ours, ours that rest are cancelled", says=_by_broker, alone=True)
def _squared_off(stage: Stage) -> None:
    _afternoon(stage)
    order = stage.filled()
    if stage.kit.intraday_is_carried:
        stage.pass_(1800.0)
        assert stage.position(stage.future) == order.quantity
        return
    resting = stage.place(stage.order())
    ours = {order.broker_order_id, resting.broker_order_id}
    stage.until(lambda: not any(one.quantity for one in stage.account.positions.values()), 2400.0, 5.0)
    rows = stage.broker.orders()
    (theirs,) = [row for row in rows if row.broker_order_id not in ours]
    assert (theirs.side, theirs.filled, theirs.state, theirs.tag) == (Side.SELL, order.quantity, OrderState.FILLED, None)
    stage.pass_(2.0)
    assert stage.position(stage.future) == 0
    assert stage.row(resting).state is OrderState.CANCELLED
    late = stage.order()
    stage.pass_(2.0)
    assert stage.turned_down(late), "nothing new may be opened for the day"


# --- market data ------------------------------------------------------------------------------------------------------------------------


@card(DATA, "last prices of shares, futures, options and an index, by our keys")
def _prices(stage: Stage) -> None:
    asked = [stage.future, stage.share, stage.option, stage.index]
    prices = stage.data().last_prices(asked)
    assert prices.keys() == {one.key for one in asked}
    assert prices[stage.future.key] == pytest.approx(stage.last(stage.future))
    assert prices[stage.share.key] == pytest.approx(stage.last(stage.share))


@card(DATA, "an instrument the broker does not know is absent, not zero")
def _unknown_price(stage: Stage) -> None:
    gone = msgspec.structs.replace(stage.future, key="NFO:NIFTY26OCTFUT", symbol="NIFTY26OCTFUT")
    assert stage.data().last_prices([gone, stage.share]).keys() == {stage.share.key}


@card(DATA, "sixty prices at once, in as many requests as the broker wants")
def _many_prices(stage: Stage) -> None:
    asked = sorted(stage.lookup.tokens.values(), key=lambda one: one.key)[:60]
    assert len(stage.data().last_prices(asked)) == len(asked)


@card(DATA, "no prices of nothing, and nothing is asked")
def _no_prices(stage: Stage) -> None:
    before = len(stage.served.simulator.requests)
    assert stage.data().last_prices([]) == {}
    assert len(stage.served.simulator.requests) == before


@card(DATA, "the day's circuit limits hold the last price; an index has none")
def _circuits(stage: Stage) -> None:
    found = stage.broker.circuits([stage.share, stage.future, stage.index])
    low, high = found[stage.share.key]
    assert 0 < low < stage.last(stage.share) < high
    assert stage.index.key not in found


def _candles(interval: int, stage: Stage) -> None:
    start = TODAY - timedelta(days=1) + timedelta(hours=9, minutes=15)
    end = TODAY.replace(hour=9, minute=30) if interval < 1440 else TODAY
    bars = stage.data().candles(stage.share, start.replace(hour=0, minute=0) if interval == 1440 else start, end, interval)
    assert bars
    assert [bar.start for bar in bars] == sorted({bar.start for bar in bars})
    assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
    assert all(bar.at - bar.start == timedelta(minutes=interval) and bar.interval == interval for bar in bars)
    if interval < 1440:
        assert bars[0].start == start
    if interval <= 15:
        assert {bar.start.day for bar in bars} == {19, 20}, "today's join yesterday's"


for _interval in (1, 3, 5, 10, 15, 30, 60, 1440):
    CARDS.append(Card(DATA, f"candles of {_interval} minutes", partial(_candles, _interval)))


@card(DATA, "candles of futures and options and an index")
def _candles_of_kinds(stage: Stage) -> None:
    start, end = TODAY.replace(hour=9, minute=15), TODAY.replace(hour=9, minute=25)
    for instrument in (stage.future, stage.option, stage.index):
        assert [bar.start.minute for bar in stage.data().candles(instrument, start, end, 5)][:2] == [15, 20]
        stage.pass_(2.0)


@card(DATA, "an interval the broker does not have: refused unsent", says=lambda kit: f"{kit.no_candles} minutes: refused unsent")
def _no_interval(stage: Stage) -> None:
    before = len(stage.served.simulator.requests)
    with pytest.raises(Rejected, match=str(stage.kit.no_candles)):
        stage.data().candles(stage.share, TODAY, TODAY, stage.kit.no_candles)
    assert len(stage.served.simulator.requests) == before


def _cap(kit: Kit) -> str:
    return ", ".join(f"{minutes} min {kit.spec.historical_caps[minutes]} days" for minutes in (1, 5, 60, 1440))


@card(DATA, "as many days of candles as we ask for at once are taken", says=_cap)
def _capped(stage: Stage) -> None:
    for interval in (1, 5, 60, 1440):
        cap = stage.spec.historical_caps[interval]
        assert stage.data().candles(stage.share, TODAY - timedelta(days=cap), TODAY, interval)


def _too_long(kit: Kit) -> str:
    return "asked for in pieces" if kit.cuts_history else "refused"


@card(DATA, "more days than the broker takes at once: refused or asked for in pieces, never cut short in silence", says=_too_long)
def _beyond(stage: Stage) -> None:
    if stage.kit.cuts_history:
        bars = stage.data().candles(stage.share, TODAY - timedelta(days=3), TODAY.replace(hour=9, minute=20), 1)
        assert len({bar.start.date() for bar in bars}) >= 2
        return
    for interval in (1, 5):
        with pytest.raises(BrokerError):
            stage.data().candles(stage.share, TODAY - timedelta(days=2 * stage.spec.historical_caps[interval] + 10), TODAY, interval)


@card(DATA, "no candles in a span without trading: an empty list")
def _no_candles(stage: Stage) -> None:
    assert stage.data().candles(stage.share, TODAY.replace(hour=3), TODAY.replace(hour=4), 5) == []


@card(DATA, "a history that is cut short is handed on as short as it came, never filled up")
def _short(stage: Stage) -> None:
    stage.fault("short_history", stage.kit.routes.candles, candles=3)
    start = TODAY - timedelta(days=1) + timedelta(hours=9, minutes=15)
    assert len(stage.data().candles(stage.share, start, start + timedelta(hours=7), 5)) == 3


@card(DATA, "the instrument file: every row read, each contract once, lots and ticks and expiries")
def _file(stage: Stage) -> None:
    rows = stage.spec.parse_instruments(stage.data().instruments())
    listed = list(rows)
    assert rows.complete
    assert rows.skipped == {}
    assert len({row.key for row in listed}) == len(listed) == len({row.token for row in listed})
    listings = stage.served.simulator.world.market.listings
    traded = [row for row in listed if row.kind is not Kind.INDEX]
    assert {row.key for row in traded} == {key for key, one in listings.items() if one.kind != "INDEX"}
    assert all((row.lot, row.expiry) == (listings[row.key].lot, listings[row.key].expiry) for row in traded)
    steps = [row.tick_size / listings[row.key].tick_size for row in traded]
    assert all(step >= 0.999 and abs(step - round(step)) < 1e-6 for step in steps), "a price on our tick is on the exchange's"
    assert all(step < 1.001 for step, row in zip(steps, traded, strict=True) if row.kind is not Kind.EQUITY)


@card(DATA, "an instrument file that breaks off is never taken for whole")
def _broken_file(stage: Stage) -> None:
    stage.fault("truncated_dump", stage.kit.routes.dump, fraction=0.6)
    try:
        rows = stage.spec.parse_instruments(stage.data().instruments())
        count = sum(1 for _ in rows)
    except NiyamError:
        return  # noticed at once
    assert not rows.complete or rows.skipped, f"{count} rows passed for the whole file"


@card(DATA, "no instrument file (502): read again later")
def _no_file(stage: Stage) -> None:
    stage.fault("server_error", stage.kit.routes.dump)
    with pytest.raises(Transient):
        stage.data().instruments()


@card(DATA, "the profile names the account")
def _profile(stage: Stage) -> None:
    assert stage.user in stage.data().profile().values()


@card(DATA, "prices on a dead token: SessionExpired", says=lambda kit: "SessionExpired")
def _dead_prices(stage: Stage) -> None:
    stage.kill_token()
    with pytest.raises(SessionExpired):
        stage.data().last_prices([stage.future])


# --- over the night ---------------------------------------------------------------------------------------------------------------------


def _afternoon(stage: Stage) -> None:
    """15:00: what rests from now on need not be played against a whole day."""
    stage.pass_((TODAY.replace(hour=15) - stage.clock.now()).total_seconds())


def _next_morning(stage: Stage) -> date:
    """09:20 of the next trading day, logged in, with its instruments."""
    stage.pass_((datetime(2026, 11, 23, 9, 20, tzinfo=IST) - stage.clock.now()).total_seconds())
    if stage.session.state() is not SessionState.VALID:
        stage.session.auto_login(stage.login_page)
    stage.pass_(2.0)
    return date(2026, 11, 23)


def _token_of_day(kit: Kit) -> str:
    return "yes" if kit.dated_tokens else "its name, which stays"


@card(DAYS, "a future has another token the next day; the order goes by the new one", says=_token_of_day, alone=True)
def _next_token(stage: Stage) -> None:
    future, old = stage.future, stage.lookup.token(stage.future)
    _next_morning(stage)
    stage.load_instruments()
    assert (stage.lookup.token(future) != old) is stage.kit.dated_tokens
    assert stage.row(stage.place(stage.order(future))).instrument == future


@card(DAYS, "the roll: out of the near month, into the next, each by its own token", alone=True)
def _roll(stage: Stage) -> None:
    _afternoon(stage)
    futures = [one for one in stage.lookup.tokens.values() if one.kind is Kind.FUTURE and one.underlying == "NIFTY"]
    near, far = sorted(futures, key=lambda one: one.expiry or date.max)[:2]
    stage.filled(near, horizon=Horizon.CARRY)
    _next_morning(stage)
    stage.load_instruments()
    assert stage.position(near) == near.lot, "carried over the night"
    stage.filled(near, side=Side.SELL, horizon=Horizon.CARRY)
    stage.filled(far, horizon=Horizon.CARRY)
    stage.pass_(2.0)
    assert (stage.position(near), stage.position(far)) == (0, far.lot)


@card(DAYS, "the day after an expiry: the contract is gone from the file, and an order for it is refused", alone=True)
def _expired(stage: Stage) -> None:
    near = stage.future
    stage.pass_((datetime(2026, 11, 25, 9, 20, tzinfo=IST) - stage.clock.now()).total_seconds())
    if stage.session.state() is not SessionState.VALID:
        stage.session.auto_login(stage.login_page)
    stage.load_instruments()
    assert stage.lookup.by_key(near.key) is None
    following = stage.future
    assert following != near
    with pytest.raises(Rejected):
        stage.broker.place(msgspec.structs.replace(stage.order(following), instrument=near))
    assert stage.row(stage.place(stage.order(following))).state is OrderState.WORKING


@card(DAYS, "shares bought for delivery are holdings the next morning, by our key", alone=True)
def _holdings(stage: Stage) -> None:
    _afternoon(stage)
    order = stage.filled(stage.share, horizon=Horizon.CARRY)
    paid = stage.row(order).average_price
    _next_morning(stage)
    stage.load_instruments()
    assert isinstance(stage.broker, HoldingSource)
    (held,) = stage.broker.holdings()
    assert (held.instrument, held.quantity) == (stage.share, order.quantity)
    assert held.average_price == pytest.approx(paid, abs=0.01)
    assert held.last_price == pytest.approx(stage.last(stage.share), rel=0.002)
    stage.kill_token()
    with pytest.raises(SessionExpired):
        stage.broker.holdings()


@card(DAYS, "shares carried: positions and what was delivered add up to ours, and to nothing after their sale", alone=True)
def _delivered(stage: Stage) -> None:
    _afternoon(stage)
    order = stage.filled(stage.share, horizon=Horizon.CARRY)
    product = stage.kit.products[Horizon.CARRY, Kind.EQUITY]
    ours = Position("live", "s", stage.share, product, order.quantity, 1400.0, 0, 0, Horizon.CARRY)
    day = _next_morning(stage)
    stage.load_instruments()
    portfolio = Portfolio("live", SimpleNamespace(order_charges=lambda *_: SimpleNamespace(total=0.0)))
    portfolio.restore([ours], [], day)
    delivered = Delivered(portfolio, MemoryStore(), stage.spec.horizon_of)
    positions = stage.broker.positions()
    assert isinstance(stage.broker, HoldingSource)
    delivered.look(day, stage.clock.now(), positions, stage.broker.holdings(), resumed=False)
    delivered.open_day(day)

    def net() -> int:
        now = stage.clock.now()
        rows = delivered.beside(Books(now, now, positions=stage.broker.positions())).positions
        return sum(row.quantity for row in rows or () if (row.instrument, row.product) == (stage.share, product))

    assert net() == order.quantity
    stage.filled(stage.share, horizon=Horizon.CARRY, side=Side.SELL, purpose=Purpose.EXIT)
    assert net() == 0


@card(DAYS, "yesterday's orders are gone from the book, what was carried is there", alone=True)
def _new_day(stage: Stage) -> None:
    _afternoon(stage)
    stage.filled(stage.share, horizon=Horizon.CARRY)
    stage.place(stage.order())
    _next_morning(stage)
    stage.load_instruments()
    assert stage.broker.orders() == ()
    assert stage.broker.trades() == ()


@card(DAYS, "a day's order that did not fill does not live on: cancelled or gone at the close", alone=True)
def _close(stage: Stage) -> None:
    _afternoon(stage)
    order = stage.place(stage.order(horizon=Horizon.CARRY))
    stage.pass_((datetime(2026, 11, 20, 16, 0, tzinfo=IST) - stage.clock.now()).total_seconds())
    assert stage.row(order).state in (OrderState.CANCELLED, OrderState.EXPIRED)


@card(DAYS, "after the close an order is turned down for certain, or waits as an after-market order and says so", alone=True)
def _after_close(stage: Stage) -> None:
    stage.pass_((datetime(2026, 11, 20, 17, 0, tzinfo=IST) - stage.clock.now()).total_seconds())
    order = stage.order()
    try:
        order = stage.place(order)
    except Rejected:
        assert not stage.at_broker(order.tag)
        return
    assert stage.row(order).state in (OrderState.AMO_QUEUED, OrderState.REJECTED)
