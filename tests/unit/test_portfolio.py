"""Fills booked once, money to the paisa, days that start at zero, and a restart that changes nothing."""

import hashlib
import random
from datetime import timedelta
from time import perf_counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from core.events import Trade
from core.types import Horizon, Instrument, Side
from execution_engine.charges import Charges
from execution_engine.portfolio import EXTERNAL, Adjustment, Portfolio
from tests.builders import DAY, NIFTY, RELIANCE, CappedCharges, NoCharges, at, make_order, make_trade
from utils.config_loader import load_charges


def fresh(charges: CappedCharges | NoCharges | None = None) -> Portfolio:
    portfolio = Portfolio("practice", charges or NoCharges())
    portfolio.start_day(DAY)
    return portfolio


BUY = make_order(instrument=RELIANCE, quantity=100, limit_price=1_400.0, product="MIS")
SELL = make_order(id="20261120-2", tag="ABCDEFGH00000002", instrument=RELIANCE, side=Side.SELL, quantity=100, product="MIS")


def trade(id: str, quantity: int, price: float, seconds: float = 1.0, **changes: object) -> Trade:
    return make_trade(id, quantity, price, seconds, instrument=RELIANCE, **changes)


def test_a_round_trip_realises_what_was_received_less_what_was_paid() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 60, 1_400.0))
    portfolio.book(BUY, trade("2", 40, 1_401.5))
    portfolio.mark(RELIANCE, 1_402.0)
    assert portfolio.position("trend", RELIANCE) == 100
    assert portfolio.pnl() == {"realised": 0.0, "unrealised": 140.0, "charges": 0.0, "net": 140.0}
    portfolio.book(SELL, trade("3", 30, 1_403.0, side=Side.SELL))
    assert portfolio.pnl()["realised"] == pytest.approx(30 * (1_403.0 - 1_400.6), abs=0.005)
    portfolio.book(SELL, trade("4", 70, 1_399.0, side=Side.SELL))
    assert portfolio.pnl() == {"realised": -40.0, "unrealised": 0.0, "charges": 0.0, "net": -40.0}
    assert portfolio.flat


def test_a_trade_that_crosses_zero_closes_and_opens() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 50, 100.0))
    portfolio.book(SELL, trade("2", 80, 110.0, side=Side.SELL))
    [held] = portfolio.positions()
    assert (held.quantity, held.average_price, held.realised) == (-30, 110.0, 50_000)


def test_the_same_trade_is_booked_once_whoever_tells_it() -> None:
    portfolio = fresh()
    assert portfolio.book(BUY, trade("1", 50, 100.0)) is not None
    assert portfolio.book(BUY, trade("1", 50, 100.0, seconds=9)) is None
    assert portfolio.book_foreign(trade("1", 50, 100.0), "MIS", Horizon.INTRADAY) == ()
    assert portfolio.booked(BUY.id) == 50
    assert portfolio.book(SELL, trade("1", 50, 100.0, side=Side.SELL)) is not None  # both sides of a self-trade carry one id


def test_charges_are_those_with_the_fill_less_those_without() -> None:
    portfolio = fresh(CappedCharges())
    fills = [portfolio.book(BUY, trade(str(n), 10, 1_400.0)) for n in range(10)]
    charges = [fill.charges for fill in fills if fill is not None]
    assert charges == [560, 560, 560, 560, 460, 140, 140, 140, 140, 140]  # the cap of 20 rupees is reached in the fifth slice
    assert portfolio.pnl()["charges"] == 34.0
    assert portfolio.positions()[0].charges == 3_400


def test_slices_told_by_the_row_alone_are_priced_from_the_averages() -> None:
    portfolio = fresh()
    first = portfolio.book_total(BUY, 40, 1_400.0, at(1))
    second = portfolio.book_total(BUY, 100, 1_400.6, at(2))
    assert first is not None
    assert second is not None
    assert (first.quantity, first.price) == (40, 1_400.0)
    assert (second.quantity, second.price) == (60, 1_401.0)
    assert portfolio.book_total(BUY, 100, 1_400.6, at(3)) is None
    assert first.id != second.id


def test_trades_that_come_after_their_row_are_not_booked_again() -> None:
    portfolio = fresh()
    portfolio.book_total(BUY, 50, 1_400.0, at(1))
    assert portfolio.book(BUY, trade("1", 30, 1_400.0)) is None
    later = portfolio.book(BUY, trade("2", 40, 1_400.0))
    assert later is not None
    assert later.quantity == 20  # the row had told 20 of these 40
    assert portfolio.booked(BUY.id) == 70


def test_an_average_that_contradicts_the_slices_falls_back_to_itself() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 90, 1_400.0))
    fill = portfolio.book_total(BUY, 91, 1_300.0, at(2))
    assert fill is not None
    assert fill.price == 1_300.0


def test_strategies_keep_their_own_accounts_and_sum_to_the_net() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 100, 100.0))
    portfolio.book(msgspec.structs.replace(SELL, strategy="range"), trade("2", 40, 101.0, side=Side.SELL))
    assert (portfolio.position("trend", RELIANCE), portfolio.position("range", RELIANCE)) == (100, -40)
    assert portfolio.net(RELIANCE, "MIS") == portfolio.owned(RELIANCE, "MIS") == 60
    assert portfolio.net(RELIANCE, "CNC") == 0
    portfolio.mark(RELIANCE, 102.0)
    assert portfolio.pnl("range")["net"] == -40.0
    assert portfolio.pnl("trend")["net"] == 200.0
    assert portfolio.pnl("nobody")["net"] == 0.0
    assert portfolio.exposure() == 140 * 102.0


def test_a_foreign_fill_closes_ours_first_and_the_rest_is_external() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 50, 100.0))
    fills = portfolio.book_foreign(trade("9", 80, 102.0, side=Side.SELL, broker_order_id="X7"), "MIS", Horizon.INTRADAY)
    assert [(fill.id, fill.order_id, fill.strategy, fill.quantity) for fill in fills] == [
        ("9", "ADOPTED:MIS:X7", "trend", 50),
        ("9/1", "EXTERNAL:MIS:X7", EXTERNAL, 30),
    ]
    assert portfolio.flat
    assert (portfolio.owned(RELIANCE, "MIS"), portfolio.net(RELIANCE, "MIS")) == (0, -30)
    portfolio.mark(RELIANCE, 500.0)
    assert portfolio.pnl()["net"] == 100.0  # what is EXTERNAL earns and loses nothing of ours
    assert portfolio.exposure() == 30 * 500.0


def test_a_foreign_fill_on_our_side_is_external_whole() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 50, 100.0))
    [fill] = portfolio.book_foreign(trade("9", 20, 100.0), "MIS", Horizon.INTRADAY)
    assert fill.strategy == EXTERNAL
    assert portfolio.position("trend", RELIANCE) == 50


def test_adopting_the_brokers_net_makes_typed_adjustments_and_no_fill() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 50, 100.0))
    before = portfolio.digest()
    assert portfolio.adopt(RELIANCE, "MIS", -10, 101.0, at(5), "broker shows -10") == (
        Adjustment("trend", RELIANCE, "MIS", -50, 101.0, at(5), "broker shows -10"),
        Adjustment(EXTERNAL, RELIANCE, "MIS", -10, 101.0, at(5), "broker shows -10"),
    )
    assert portfolio.net(RELIANCE, "MIS") == -10
    assert portfolio.pnl()["realised"] == 50.0
    assert portfolio.digest() == before
    assert portfolio.adopt(RELIANCE, "MIS", -10, 101.0, at(6), "again") == ()


def test_a_multiplier_turns_prices_into_rupees() -> None:
    lots = msgspec.structs.replace(NIFTY, key="CDS:USDINR26NOVFUT", exchange="CDS", tick_size=0.0025, multiplier=1000)
    portfolio = fresh()
    portfolio.book(make_order(instrument=lots), make_trade("1", 2, 84.0025, instrument=lots))
    portfolio.book(make_order(id="2", side=Side.SELL, instrument=lots), make_trade("2", 2, 84.0050, instrument=lots, side=Side.SELL))
    assert portfolio.pnl()["realised"] == 5.0


def test_a_new_day_starts_at_zero_and_carries_at_the_close() -> None:
    portfolio = fresh(CappedCharges())
    portfolio.book(BUY, trade("1", 100, 100.0))
    portfolio.mark(RELIANCE, 110.0)
    portfolio.book(make_order(id="n"), make_trade("n1", 65, 25_000.0))
    portfolio.book(make_order(id="m", side=Side.SELL), make_trade("n2", 65, 25_010.0, side=Side.SELL))
    portfolio.sample(at(10))
    tomorrow = DAY + timedelta(days=3)
    portfolio.start_day(tomorrow, {RELIANCE.key: 108.0})
    assert portfolio.pnl() == {"realised": 0.0, "unrealised": 0.0, "charges": 0.0, "net": 0.0}
    assert (portfolio.max_drawdown, portfolio.curve) == (0.0, [])
    [held] = portfolio.positions()  # what ended flat is forgotten
    assert (held.average_price, held.cost, held.day_cost, held.day) == (100.0, 1_000_000, 1_080_000, tomorrow)
    again = trade("1", 100, 105.0, 3 * 86_400, side=Side.SELL)  # trade ids start anew each day
    portfolio.book(SELL, again)
    assert portfolio.pnl()["realised"] == -300.0
    assert portfolio.positions()[0].realised == 50_000


def test_without_a_close_a_carried_position_counts_from_its_last_price() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 100, 100.0))
    portfolio.mark(RELIANCE, 110.0)
    portfolio.start_day(DAY + timedelta(days=3))
    portfolio.mark(RELIANCE, 111.0)
    assert portfolio.pnl()["net"] == 100.0


def test_the_drawdown_is_the_largest_fall_from_the_peak() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 10, 100.0))
    for second, price in enumerate((101.0, 105.0, 99.0, 104.0, 103.0)):
        portfolio.mark(RELIANCE, price)
        portfolio.sample(at(second * 40))
    assert portfolio.max_drawdown == 60.0
    assert [net for _, net in portfolio.curve] == [50.0, -10.0, 30.0]  # the last sample of each minute


def test_the_digest_is_the_contracts_line_for_each_fill() -> None:
    portfolio = fresh(CappedCharges())
    portfolio.book(make_order(), make_trade("1", 65, 25_000.1, seconds=1.7))
    text = "2026-11-20T09:30:01+05:30|trend|NFO:NIFTY26NOVFUT|BUY|65|2500010|18250\n"
    assert portfolio.digest() == hashlib.sha256(text.encode()).hexdigest()


def test_positions_are_told_for_storing_once_for_each_change() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 10, 100.0))
    assert [held.quantity for held in portfolio.changed()] == [10]
    assert portfolio.changed() == []


def test_rows_are_in_rupees_and_in_the_contracts_shape() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 10, 100.0))
    portfolio.mark(RELIANCE, 101.5)
    assert portfolio.rows() == [
        {
            "account": "practice",
            "instrument": "NSE:RELIANCE",
            "product": "MIS",
            "strategy": "trend",
            "quantity": 10,
            "average_price": 100.0,
            "last_price": 101.5,
            "realised": 0.0,
            "unrealised": 15.0,
        }
    ]


def test_a_restart_knows_trades_charges_and_the_day_again() -> None:
    portfolio, fills = fresh(CappedCharges()), []
    portfolio.book(msgspec.structs.replace(BUY, id="y"), trade("y1", 10, 90.0))
    portfolio.start_day(DAY, {RELIANCE.key: 95.0})
    fills += [portfolio.book(BUY, trade("1", 40, 1_400.0)), portfolio.book_total(BUY, 60, 1_400.0, at(2))]
    fills += portfolio.book_foreign(trade("9", 90, 1_410.0, side=Side.SELL, broker_order_id="X7"), "MIS", Horizon.INTRADAY)
    portfolio.mark(RELIANCE, 1_405.0)
    restarted = Portfolio("practice", CappedCharges())
    restarted.restore(portfolio.positions(), [fill for fill in fills if fill is not None], DAY)
    restarted.mark(RELIANCE, 1_405.0)
    assert restarted.pnl() == portfolio.pnl()
    assert restarted.positions() == portfolio.positions()
    assert restarted.book_foreign(trade("9", 90, 1_410.0, side=Side.SELL, broker_order_id="X7"), "MIS", Horizon.INTRADAY) == ()
    assert restarted.book(BUY, trade("1", 40, 1_400.0)) is None
    for each in (portfolio, restarted):
        assert each.book(BUY, trade("2", 20, 1_400.0)) is None  # the row had told it before
        fill = each.book(BUY, trade("3", 40, 1_400.0))
        assert fill is not None
        assert (fill.quantity, fill.charges) == (40, 560)  # 14,000 at 0.01 %: the order had reached the cap before
    assert restarted.booked(BUY.id) == portfolio.booked(BUY.id) == 100


def test_a_position_of_an_earlier_session_is_restored_at_its_average() -> None:
    portfolio = fresh()
    portfolio.book(BUY, trade("1", 10, 100.0))
    restarted = Portfolio("practice", NoCharges())
    restarted.restore(portfolio.positions(), [], DAY + timedelta(days=1))
    restarted.mark(RELIANCE, 101.0)
    assert restarted.pnl()["net"] == 10.0
    assert restarted.position("trend", RELIANCE) == 10


def test_what_ended_flat_in_an_earlier_session_is_not_taken_up_but_its_fills_stay_in_the_digest() -> None:
    portfolio = fresh()
    fills = [portfolio.book(BUY, trade("1", 10, 100.0)), portfolio.book(SELL, trade("2", 10, 101.0, side=Side.SELL))]
    restarted = Portfolio("practice", NoCharges())
    restarted.restore(portfolio.positions(), [fill for fill in fills if fill is not None], DAY + timedelta(days=1))
    assert restarted.positions() == []
    assert restarted.booked(BUY.id) == 0
    assert restarted.digest() == portfolio.digest()


@settings(max_examples=100, deadline=None)
@given(some.lists(some.integers(1, 40), min_size=1, max_size=30), some.sampled_from([RELIANCE, NIFTY]))
def test_the_real_tariff_sums_to_that_of_the_whole_order(lots: list[int], instrument: Instrument) -> None:
    tariff = Charges(load_charges(), "zerodha")
    portfolio = Portfolio("practice", tariff)
    portfolio.start_day(DAY)
    slices = [(count * instrument.lot, round(1_400.0 + count / 10, 1)) for count in lots]
    order = make_order(instrument=instrument, side=Side.SELL)
    for number, (quantity, price) in enumerate(slices):
        portfolio.book(order, make_trade(str(number), quantity, price, instrument=instrument, side=Side.SELL))
    whole = tariff.order_charges(instrument, order.horizon, Side.SELL, slices, DAY).total
    assert portfolio.pnl()["charges"] == pytest.approx(whole, abs=0.0051)


def test_the_digest_of_a_restarted_run_is_that_of_the_whole_run() -> None:
    portfolio = fresh(CappedCharges())
    first = portfolio.book(BUY, trade("1", 40, 1_400.0))
    assert first is not None
    restarted = Portfolio("practice", CappedCharges())
    restarted.restore(portfolio.positions(), [first], DAY)
    for each in (portfolio, restarted):
        each.book(SELL, trade("2", 40, 1_401.0, side=Side.SELL))
    assert restarted.digest() == portfolio.digest()


@settings(max_examples=300, deadline=None)
@given(some.lists(some.tuples(some.integers(1, 500), some.integers(1, 4_000_000), some.booleans()), min_size=1, max_size=60))
def test_whatever_is_traded_money_is_conserved_to_the_paisa(trades: list[tuple[int, int, bool]]) -> None:
    portfolio, paid, held = fresh(), 0, 0
    for number, (quantity, paise, buys) in enumerate(trades):
        side = Side.BUY if buys else Side.SELL
        order = msgspec.structs.replace(BUY, side=side, id=f"{side}")
        portfolio.book(order, trade(str(number), quantity, paise / 100, side=side))
        paid += side.sign * quantity * paise
        held += side.sign * quantity
        portfolio.mark(RELIANCE, paise / 100)
    pnl = portfolio.pnl()
    assert round(pnl["net"] * 100) == held * trades[-1][1] - paid
    assert portfolio.positions()[0].quantity == held


@settings(max_examples=200, deadline=None)
@given(some.integers(0, 2**32))
def test_rows_and_trades_in_any_order_book_each_unit_once(seed: int) -> None:
    chance = random.Random(seed)
    slices = [(chance.randint(1, 30), round(1_400 + chance.randint(-20, 20) / 10, 1)) for _ in range(chance.randint(1, 8))]
    steps: list[tuple[str, int]] = [("trade", n) for n in range(len(slices)) for _ in range(chance.randint(1, 2))]
    steps += [("row", n) for n in range(len(slices))]
    chance.shuffle(steps)
    portfolio, worth = fresh(), [0.0]
    for quantity, price in slices:
        worth.append(worth[-1] + quantity * price)
    for kind, n in steps:
        if kind == "trade":
            portfolio.book(BUY, trade(str(n), *slices[n]))
        else:
            filled = sum(quantity for quantity, _ in slices[: n + 1])
            portfolio.book_total(BUY, filled, worth[n + 1] / filled, at(n))
    assert portfolio.position("trend", RELIANCE) == sum(quantity for quantity, _ in slices)


def test_a_hundred_thousand_fills_of_one_order_cost_the_same_each() -> None:
    portfolio = fresh(CappedCharges())
    order = msgspec.structs.replace(BUY, quantity=1_000_000)
    trades = [trade(f"{n}", 10, 1_400.0 + n % 7 / 10) for n in range(100_000)]
    times = []
    for start in range(0, 100_000, 10_000):
        began = perf_counter()
        for one in trades[start : start + 10_000]:
            portfolio.book(order, one)
        times.append(perf_counter() - began)
    assert portfolio.position("trend", RELIANCE) == 1_000_000
    assert sum(times) < 30
    assert min(times[-3:]) < 4 * min(times[:3])


def told_after(steps: list[tuple[str, float]], *, each_time: bool) -> object:
    """What a portfolio tells at the end of these steps; `each_time` asks it after every one of them as well."""
    portfolio = fresh(CappedCharges())
    for number, (kind, size) in enumerate(steps):
        day, price, quantity = DAY + timedelta(days=number), 1_400.0 + size, 10 + abs(int(size))
        if kind in ("buy", "sell"):
            order, side = (BUY, Side.BUY) if kind == "buy" else (SELL, Side.SELL)
            portfolio.book(order, trade(str(number), quantity, price, side=side))
        elif kind == "mark":
            portfolio.mark(RELIANCE, price)
        elif kind == "foreign":
            portfolio.book_foreign(trade(f"F{number}", quantity, price, broker_order_id=f"F{number}"), "MIS", Horizon.INTRADAY)
        elif kind == "adopt":
            portfolio.adopt(RELIANCE, "MIS", int(size), price, at(number), "the broker's books")
        else:
            portfolio.start_day(day, {RELIANCE.key: price})
        if each_time:
            tell(portfolio)
    return tell(portfolio)


def tell(portfolio: Portfolio) -> object:
    return (
        list(portfolio.positions()),
        portfolio.net_result(),
        portfolio.net_result("trend"),
        portfolio.on_side(RELIANCE, Side.BUY),
        portfolio.flat,
    )


@given(
    some.lists(
        some.tuples(some.sampled_from(["buy", "sell", "mark", "foreign", "adopt", "new day"]), some.integers(-30, 30).map(float)),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_asking_never_changes_what_is_told_later(steps: list[tuple[str, float]]) -> None:
    """What was worked out once is kept until it changes, and no longer."""
    assert told_after(steps, each_time=True) == told_after(steps, each_time=False)
