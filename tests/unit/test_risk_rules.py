"""Every cap at its boundary, from both sides: each table fails if its rule compares the wrong way, off by one, or not at all."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from core.types import (
    AccountKind,
    Approved,
    Horizon,
    Instrument,
    Kind,
    OrderRequest,
    OrderState,
    OrderType,
    Purpose,
    Refused,
    SessionState,
    Side,
    TradingState,
)
from risk.book import EntryWindow, exposure
from risk.gate import Gate
from risk.rules import WellFormed
from risk.settings import RiskSettings, StrategyLimits
from tests.builders import DAY, NIFTY, RELIANCE, T0, make_order
from tests.unit.risk_fakes import SETTINGS, FakeBook, entry, held, leave, settings

CALL = msgspec.structs.replace(
    NIFTY, key="NFO:NIFTY26NOV25000CE", symbol="NIFTY26NOV25000CE", kind=Kind.CALL, strike=25_000.0, tick_size=0.05
)
INDEX = Instrument(key="NSE:NIFTY 50", exchange="NSE", symbol="NIFTY 50", kind=Kind.INDEX, underlying="NIFTY")


def verdict(request: OrderRequest, book: FakeBook | None = None, using: RiskSettings = SETTINGS) -> tuple[str, bool] | None:
    """(rule, permanent) of the refusal, None when approved."""
    answer = Gate(using).review(request, book or FakeBook())
    if isinstance(answer, Refused):
        assert answer.reason
        assert answer.request is request
        return answer.rule, answer.permanent
    assert isinstance(answer, Approved)
    assert answer.request is request
    return None


def test_an_ordinary_entry_and_an_ordinary_exit_pass() -> None:
    assert verdict(entry()) is None
    assert verdict(leave(), held()) is None
    assert Gate(SETTINGS).review(entry(), FakeBook()) == Approved(entry(), T0)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 0},
        {"quantity": -65},
        {"quantity": 65.0},
        {"quantity": True},
        {"quantity": float("nan")},
        {"quantity": 10**9 + 1},
        {"quantity": 10**5000},
        {"limit_price": 0.0},
        {"limit_price": -0.1},
        {"limit_price": float("nan")},
        {"limit_price": float("inf")},
        {"limit_price": 1e9 + 1},
        {"limit_price": True},
        {"limit_price": "25000"},
        {"limit_price": None},
        {"limit_price": 25_000.05},
        {"side": "BUY"},
        {"purpose": "entry"},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.SL_M, "trigger_price": 25_000.0},
        {"trigger_price": 25_000.0},
        {"order_type": OrderType.SL},
        {"order_type": OrderType.SL, "trigger_price": float("nan")},
        {"order_type": OrderType.SL, "trigger_price": 25_000.1},
        {"order_type": OrderType.SL, "trigger_price": 24_999.9, "side": Side.SELL},
        {"instrument": INDEX},
    ],
)
def test_a_malformed_request_is_refused_for_good(changes: dict[str, Any]) -> None:
    assert verdict(entry(**changes)) == ("well_formed", True)


@pytest.mark.parametrize("changes", [{"quantity": float("nan")}, {"quantity": -65}, {"limit_price": float("nan")}, {"limit_price": 0.0}])
def test_an_exit_must_be_well_formed_too(changes: dict[str, Any]) -> None:
    assert verdict(leave(**changes), held()) == ("well_formed", True)


@pytest.mark.parametrize(("side", "trigger"), [(Side.BUY, 24_999.9), (Side.BUY, 25_000.0), (Side.SELL, 25_000.0), (Side.SELL, 25_000.1)])
def test_a_stop_order_with_its_limit_beyond_or_at_the_trigger_is_well_formed(side: Side, trigger: float) -> None:
    assert verdict(entry(side=side, order_type=OrderType.SL, trigger_price=trigger)) is None


@pytest.mark.parametrize("price", [0.05, 0.15, 24_999.85, 25_000.3, 40_000.7])
def test_prices_on_the_tick_pass_although_floats_are_not_exact(price: float) -> None:
    instrument = msgspec.structs.replace(NIFTY, tick_size=0.05)
    assert (
        verdict(
            entry(instrument=instrument, limit_price=price), FakeBook(price=price), settings(max_order_value=1e8, max_instrument_value=1e8)
        )
        is None
    )


# Each row: what it is about, the request, the book, the settings, and the expected verdict.
CASES: list[tuple[str, OrderRequest, FakeBook, dict[str, Any], tuple[str, bool] | None]] = [
    ("lot multiple", entry(quantity=65), FakeBook(), {}, None),
    ("one too many for the lot", entry(quantity=66), FakeBook(), {}, ("lot", True)),
    ("exit of part of a lot", leave(quantity=64), held(65), {}, ("lot", False)),
    (
        "at the freeze quantity",
        entry(quantity=1755),
        FakeBook(),
        {"max_order_value": 1e9, "max_instrument_value": 1e9, "max_strategy_exposure": 1e9, "max_gross_exposure": 1e9},
        None,
    ),
    ("above the freeze quantity", entry(quantity=1820), FakeBook(), {"max_order_value": 1e9}, ("freeze", True)),
    ("exit above the freeze quantity", leave(quantity=1820), held(1820), {}, ("freeze", False)),
    ("exit at the freeze quantity", leave(quantity=1755), held(1820), {}, None),
    ("quantity at its cap", entry(quantity=65), FakeBook(), {"max_order_quantity": 65}, None),
    ("quantity above its cap", entry(quantity=65), FakeBook(), {"max_order_quantity": 64}, ("order_quantity", True)),
    ("value at its cap", entry(), FakeBook(), {"max_order_value": 1_625_000.0}, None),
    ("value above its cap", entry(), FakeBook(), {"max_order_value": 1_624_999.99}, ("order_value", True)),
    (
        "value counts at the last price when that is higher",
        entry(limit_price=24_900.0),
        FakeBook(),
        {"max_order_value": 1_624_999.0},
        ("order_value", True),
    ),
    (
        "a bought option counts at its premium",
        entry(instrument=CALL, limit_price=100.0),
        FakeBook(price=100.0),
        {"max_order_value": 6_500.0},
        None,
    ),
    (
        "a written option counts at its strike",
        entry(instrument=CALL, limit_price=100.0, side=Side.SELL),
        FakeBook(price=100.0),
        {"max_order_value": 1_624_999.0},
        ("order_value", True),
    ),
    ("inside the circuit", entry(), FakeBook(limits=(24_000.0, 25_000.0)), {}, None),
    ("above the circuit", entry(limit_price=25_000.1), FakeBook(limits=(24_000.0, 25_000.0)), {}, ("circuit", True)),
    ("at the lower circuit", entry(side=Side.SELL), FakeBook(limits=(25_000.0, 26_000.0)), {}, None),
    ("below the lower circuit", entry(limit_price=24_999.9), FakeBook(limits=(25_000.0, 26_000.0)), {}, ("circuit", True)),
    (
        "a trigger outside the circuit",
        entry(order_type=OrderType.SL, limit_price=25_000.0, trigger_price=24_999.9),
        FakeBook(limits=(25_000.0, 26_000.0)),
        {},
        ("circuit", True),
    ),
    ("exit outside the circuit", leave(limit_price=24_999.9), held(limits=(25_000.0, 26_000.0)), {}, ("circuit", False)),
    ("the last free request of the second", entry(), FakeBook(sent={1.0: 7}), {}, None),
    ("no free request in the second", entry(), FakeBook(sent={1.0: 8}), {}, ("rate", False)),
    ("the last of the minute", entry(), FakeBook(sent={60.0: 199}), {}, None),
    ("none left in the minute", entry(), FakeBook(sent={60.0: 200}), {}, ("rate", False)),
    ("the last of the day", entry(), FakeBook(sent_today=1_999), {}, None),
    ("none left in the day", entry(), FakeBook(sent_today=2_000), {}, ("rate", False)),
    ("exits have twice the rate", leave(), held(sent={1.0: 15, 60.0: 399}, sent_today=3_999), {}, None),
    ("exits: second", leave(), held(sent={1.0: 16}), {}, ("rate", False)),
    ("exits: minute", leave(), held(sent={60.0: 400}), {}, ("rate", False)),
    ("exits: day", leave(), held(sent_today=4_000), {}, ("rate", False)),
    ("exit of all", leave(quantity=130), held(130), {}, None),
    ("exit of more than is held", leave(quantity=195), held(130), {}, ("owned", False)),
    ("exit beside another exit that takes the rest", leave(), held(130, closings={("trend", NIFTY.key): 65}), {}, None),
    (
        "exit beside another exit that leaves too little",
        leave(quantity=130),
        held(130, closings={("trend", NIFTY.key): 65}),
        {},
        ("owned", False),
    ),
    ("exit of nothing", leave(), FakeBook(), {}, ("owned", False)),
    ("exit the wrong way", leave(side=Side.BUY), held(65), {}, ("owned", False)),
    ("exit of a short", leave(side=Side.BUY), held(-65), {}, None),
    ("exit of what another strategy holds", leave(strategy="other"), held(65), {}, ("owned", False)),
    ("exit at the end of its band", leave(limit_price=20_000.0), held(), {}, None),
    ("exit through the end of its band", leave(limit_price=19_999.9), held(), {}, ("exit_band", False)),
    ("exit of a short at the end of its band", leave(side=Side.BUY, limit_price=30_000.0), held(-65), {}, None),
    ("exit of a short through the band", leave(side=Side.BUY, limit_price=30_000.1), held(-65), {}, ("exit_band", False)),
    ("a passive exit far away", leave(limit_price=40_000.0), held(), {}, None),
    ("an exit without any price to compare", leave(limit_price=1.0), held(price=None), {}, None),
    (
        "a stop far away with a near limit",
        leave(purpose=Purpose.PROTECT, order_type=OrderType.SL, limit_price=15_900.0, trigger_price=16_000.0),
        held(),
        {},
        None,
    ),
    (
        "a stop whose limit gives all away",
        leave(purpose=Purpose.PROTECT, order_type=OrderType.SL, limit_price=12_799.0, trigger_price=16_000.0),
        held(),
        {},
        ("exit_band", False),
    ),
    ("paused", entry(), FakeBook(state=TradingState.REDUCE_ONLY), {}, ("trading_state", False)),
    ("halted", entry(), FakeBook(state=TradingState.HALTED), {}, ("trading_state", True)),
    ("login required", entry(), FakeBook(session=SessionState.LOGIN_REQUIRED), {}, ("session", False)),
    ("session expiring", entry(), FakeBook(session=SessionState.EXPIRING), {}, None),
    ("blind", entry(), FakeBook(blind="an ack is missing"), {}, ("blind", False)),
    ("frozen", entry(), FakeBook(frozen_keys={NIFTY.key: "books differ"}), {}, ("blind", False)),
    ("another instrument frozen", entry(), FakeBook(frozen_keys={RELIANCE.key: "books differ"}), {}, None),
    ("expiring today", entry(instrument=msgspec.structs.replace(NIFTY, expiry=DAY)), FakeBook(), {}, None),
    (
        "expired yesterday",
        entry(instrument=msgspec.structs.replace(NIFTY, expiry=DAY - timedelta(days=1))),
        FakeBook(),
        {},
        ("expired", True),
    ),
    ("at the opening of entries", entry(), FakeBook(window=EntryWindow(T0, T0 + timedelta(seconds=1))), {}, None),
    (
        "just before it",
        entry(),
        FakeBook(window=EntryWindow(T0 + timedelta(microseconds=1), T0 + timedelta(hours=1))),
        {},
        ("window", False),
    ),
    ("just before the stop of entries", entry(), FakeBook(window=EntryWindow(T0, T0 + timedelta(microseconds=1))), {}, None),
    ("at the stop of entries", entry(), FakeBook(window=EntryWindow(T0 - timedelta(hours=1), T0)), {}, ("window", False)),
    ("no session: no opening", entry(), FakeBook(window=EntryWindow(None, T0)), {}, ("window", False)),
    ("no session: no end", entry(), FakeBook(window=EntryWindow(T0, None)), {}, ("window", False)),
    ("cut-off unknown, live", entry(), FakeBook(window=EntryWindow(T0, T0 + timedelta(hours=1), False)), {}, ("window", False)),
    ("cut-off unknown, carried", entry(horizon=Horizon.CARRY), FakeBook(window=EntryWindow(T0, T0 + timedelta(hours=1), False)), {}, None),
    (
        "cut-off unknown, paper",
        entry(),
        FakeBook(account_kind=AccountKind.PAPER, window=EntryWindow(T0, T0 + timedelta(hours=1), False)),
        {},
        None,
    ),
    ("feed stale", entry(), FakeBook(feed_stale="not connected"), {}, ("stale", False)),
    ("no tick yet", entry(), FakeBook(received=None), {}, ("stale", False)),
    ("tick just young enough", entry(), FakeBook(received=5.0), {}, None),
    ("tick too old", entry(), FakeBook(received=5.001), {}, ("stale", False)),
    ("age not a number", entry(), FakeBook(received=float("nan")), {}, ("stale", False)),
    ("exchange time unknown", entry(), FakeBook(exchange=None), {}, None),
    ("exchange time just young enough", entry(), FakeBook(exchange=15.0), {}, None),
    ("exchange time too old", entry(), FakeBook(exchange=15.001), {}, ("stale", False)),
    ("no last price", entry(), FakeBook(price=None), {}, ("price_band", False)),
    ("last price not a number", entry(), FakeBook(price=float("nan")), {}, ("price_band", True)),
    ("at the upper end of the band", entry(limit_price=25_750.0), FakeBook(), {}, None),
    ("above the band", entry(limit_price=25_750.1), FakeBook(), {}, ("price_band", True)),
    ("at the lower end of the band", entry(limit_price=24_250.0), FakeBook(), {}, None),
    ("below the band", entry(limit_price=24_249.9), FakeBook(), {}, ("price_band", True)),
    (
        "a trigger outside the band",
        entry(order_type=OrderType.SL, limit_price=25_750.0, trigger_price=24_249.9),
        FakeBook(),
        {},
        ("price_band", True),
    ),
    ("twenty ticks are always allowed", entry(instrument=CALL, limit_price=3.0), FakeBook(price=2.0), {}, None),
    ("twenty-one are not", entry(instrument=CALL, limit_price=3.05), FakeBook(price=2.0), {}, ("price_band", True)),
    ("unknown order of this key", entry(), FakeBook(orders=[make_order(state=OrderState.UNKNOWN)]), {}, ("unknown_order", False)),
    ("unknown order of another key", entry(), FakeBook(orders=[make_order(state=OrderState.UNKNOWN, name="NIFTY_FUT_NEXT")]), {}, None),
    ("unknown order of another strategy", entry(), FakeBook(orders=[make_order(state=OrderState.UNKNOWN, strategy="other")]), {}, None),
    ("a working order of this key", entry(), FakeBook(orders=[make_order(state=OrderState.WORKING, quantity=130)]), {}, None),
    ("the same order is working", entry(), FakeBook(orders=[make_order(state=OrderState.WORKING, quantity=65)]), {}, ("duplicate", False)),
    (
        "an equal order for an exit is none",
        entry(),
        FakeBook(orders=[make_order(state=OrderState.WORKING, quantity=65, purpose=Purpose.EXIT)]),
        {},
        None,
    ),
    (
        "an equal order of another strategy",
        entry(),
        FakeBook(orders=[make_order(state=OrderState.WORKING, quantity=65, strategy="other")]),
        {},
        None,
    ),
    ("at another price", entry(limit_price=25_000.1), FakeBook(orders=[make_order(state=OrderState.WORKING, quantity=65)]), {}, None),
    (
        "full slices are alike",
        entry(instrument=msgspec.structs.replace(NIFTY, freeze=65)),
        FakeBook(orders=[make_order(quantity=65)]),
        {},
        None,
    ),
    ("our own offer at our price", entry(), FakeBook(orders=[make_order(side=Side.SELL, strategy="other")]), {}, ("self_trade", False)),
    ("our own offer just above", entry(), FakeBook(orders=[make_order(side=Side.SELL, limit_price=25_000.1)]), {}, None),
    (
        "our own bid just above our sale",
        entry(side=Side.SELL),
        FakeBook(orders=[make_order(limit_price=25_000.1)]),
        {},
        ("self_trade", False),
    ),
    ("our own bid just below our sale", entry(side=Side.SELL), FakeBook(orders=[make_order(limit_price=24_999.9)]), {}, None),
    ("our own offer in another instrument", entry(), FakeBook(orders=[make_order(side=Side.SELL, instrument=RELIANCE)]), {}, None),
    (
        "our own stop behind its trigger",
        entry(),
        FakeBook(orders=[make_order(side=Side.SELL, order_type=OrderType.SL, state=OrderState.TRIGGER_PENDING)]),
        {},
        None,
    ),
    (
        "our own stop, triggered",
        entry(),
        FakeBook(orders=[make_order(side=Side.SELL, order_type=OrderType.SL, state=OrderState.WORKING)]),
        {},
        ("self_trade", False),
    ),
    (
        "a stop entry rests behind its trigger",
        entry(order_type=OrderType.SL, trigger_price=25_000.0),
        FakeBook(orders=[make_order(side=Side.SELL)]),
        {},
        None,
    ),
    ("entry against what it holds", entry(), held(-65), {}, ("opposes_position", False)),
    ("entry with what it holds", entry(), held(65), {}, None),
    ("entry against what another holds", entry(strategy="other"), held(-65), {}, None),
    ("instrument value at its cap", entry(), held(65), {"max_instrument_value": 3_250_000.0}, None),
    ("instrument value above its cap", entry(), held(65), {"max_instrument_value": 3_249_999.0}, ("instrument_value", True)),
    ("short side at its cap", entry(side=Side.SELL), held(-65), {"max_instrument_value": 3_250_000.0}, None),
    ("short side above its cap", entry(side=Side.SELL), held(-65), {"max_instrument_value": 3_249_999.0}, ("instrument_value", True)),
    ("working entries count", entry(), FakeBook(orders=[make_order()]), {"max_instrument_value": 4_874_999.0}, ("instrument_value", True)),
    ("only what they may still fill", entry(), FakeBook(orders=[make_order(filled=65)]), {"max_instrument_value": 3_250_000.0}, None),
    (
        "not those of the other side",
        entry(limit_price=24_900.0),
        FakeBook(orders=[make_order(side=Side.SELL)]),
        {"max_instrument_value": 1_625_000.0},
        None,
    ),
    (
        "not those of other instruments",
        entry(),
        FakeBook(orders=[make_order(instrument=RELIANCE, limit_price=1_000.0)]),
        {"max_instrument_value": 1_625_000.0},
        None,
    ),
    ("not exits", entry(), FakeBook(orders=[make_order(purpose=Purpose.EXIT)]), {"max_instrument_value": 1_625_000.0}, None),
    (
        "all strategies on one side",
        entry(),
        FakeBook(nets={NIFTY.key: 65}),
        {"max_instrument_value": 3_249_999.0},
        ("instrument_value", True),
    ),
    ("no room by the other side", entry(), FakeBook(nets={NIFTY.key: -130}), {"max_instrument_value": 1.0}, ("instrument_value", True)),
    ("the other side counts for itself", entry(), FakeBook(nets={NIFTY.key: -130}), {"max_instrument_value": 1_625_000.0}, None),
    (
        "the strategy's exposure at its cap",
        entry(),
        FakeBook(exposures={"trend": 1_000_000.0}),
        {"max_strategy_exposure": 2_625_000.0},
        None,
    ),
    (
        "above its cap",
        entry(),
        FakeBook(exposures={"trend": 1_000_001.0}),
        {"max_strategy_exposure": 2_625_000.0},
        ("strategy_exposure", True),
    ),
    ("another strategy's exposure", entry(), FakeBook(exposures={"other": 9e9}), {"max_strategy_exposure": 1_625_000.0}, None),
    ("exposure not a number", entry(), FakeBook(exposures={"trend": float("nan")}), {}, ("strategy_exposure", True)),
    (
        "its working entries count",
        entry(),
        FakeBook(orders=[make_order()]),
        {"max_strategy_exposure": 4_874_999.0},
        ("strategy_exposure", True),
    ),
    (
        "working entries of others do not",
        entry(),
        FakeBook(orders=[make_order(strategy="other")]),
        {"max_strategy_exposure": 1_625_000.0},
        None,
    ),
    ("gross exposure at its cap", entry(), FakeBook(gross=8_375_000.0), {}, None),
    ("gross exposure above its cap", entry(), FakeBook(gross=8_375_001.0), {}, ("gross_exposure", True)),
    (
        "all working entries count",
        entry(),
        FakeBook(gross=5_125_001.0, orders=[make_order(strategy="other")]),
        {},
        ("gross_exposure", True),
    ),
    ("gross with the working entries at its cap", entry(), FakeBook(gross=5_125_000.0, orders=[make_order(strategy="other")]), {}, None),
    ("margin just enough", entry(), FakeBook(margin=211_250.0), {}, None),
    ("margin short", entry(), FakeBook(margin=211_249.99), {}, ("margin", True)),
    ("margin not a number", entry(), FakeBook(margin=float("nan")), {}, ("margin", True)),
    ("margin not known", entry(), FakeBook(margin=None), {}, None),
    ("margin not checked", entry(), FakeBook(margin=0.0), {"check_margin": False}, None),
]


@pytest.mark.parametrize(("request_", "book", "changes", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_rule_at_its_boundary(request_: OrderRequest, book: FakeBook, changes: dict[str, Any], expected: tuple[str, bool] | None) -> None:
    assert verdict(request_, book, settings(**changes)) == expected


def test_the_instrument_counts_at_the_last_price_when_that_is_higher() -> None:
    below = entry(limit_price=24_900.0)
    assert verdict(below, using=settings(max_instrument_value=1_625_000.0)) is None
    assert verdict(below, using=settings(max_instrument_value=1_624_999.0)) == ("instrument_value", True)


def test_the_largest_numbers_are_still_well_formed() -> None:
    rule = WellFormed()
    assert rule.look(entry(quantity=10**9)) is None
    assert rule.look(entry(limit_price=1e9)) is None


ADVERSE = [
    {"state": TradingState.HALTED},
    {"state": TradingState.REDUCE_ONLY},
    {"session": SessionState.LOGIN_REQUIRED},
    {"blind": "books fail"},
    {"frozen_keys": {NIFTY.key: "books differ"}},
    {"feed_stale": "mute"},
    {"received": None},
    {"received": 900.0},
    {"window": EntryWindow(None, None)},
    {"window": EntryWindow(T0 - timedelta(hours=5), T0)},
    {"pnl": -1e9},
    {"pnls": {"trend": -1e9}},
    {"gross": 1e12},
    {"exposures": {"trend": 1e12}},
    {"margin": 0.0},
    {"orders": [make_order(state=OrderState.UNKNOWN)]},
]


@pytest.mark.parametrize("purpose", [Purpose.EXIT, Purpose.PROTECT, Purpose.SQUARE_OFF, Purpose.ROLL])
@pytest.mark.parametrize("fields", ADVERSE, ids=[str(one)[:40] for one in ADVERSE])
def test_an_exit_passes_where_an_entry_may_not(fields: dict[str, Any], purpose: Purpose) -> None:
    using = settings(strategies={"trend": StrategyLimits(max_loss=5_000.0)})
    assert verdict(entry(), FakeBook(**fields), using) is not None
    assert verdict(leave(purpose=purpose), held(**fields), using) is None


def test_the_opening_leg_of_a_roll_passes_the_entry_stop_and_nothing_else() -> None:
    roll = entry(purpose=Purpose.ROLL)
    closed = EntryWindow(T0 - timedelta(hours=5), T0)
    assert verdict(entry(), FakeBook(window=closed)) == ("window", False)
    assert verdict(roll, FakeBook(window=closed)) is None
    assert verdict(roll, held(65, window=closed)) is None  # a second slice of it
    assert verdict(roll, FakeBook(window=closed, gross=1e12)) == ("gross_exposure", True)
    assert verdict(roll, FakeBook(window=closed, state=TradingState.REDUCE_ONLY)) == ("trading_state", False)


def test_the_closing_leg_of_a_roll_never_turns_the_position_round() -> None:
    roll = leave(purpose=Purpose.ROLL, quantity=130)
    assert verdict(roll, held(130)) is None
    assert verdict(roll, held(65)) == ("owned", False)


def test_a_duplicate_is_held_until_the_window_has_passed() -> None:
    gate, book = Gate(SETTINGS), FakeBook()
    assert isinstance(gate.review(entry(), book), Approved)
    book.now = T0 + timedelta(seconds=1.999)
    again = gate.review(entry(), book)
    assert isinstance(again, Refused)
    assert (again.rule, again.permanent) == ("duplicate", False)
    assert isinstance(gate.review(entry(limit_price=25_000.1), book), Approved)
    book.now = T0 + timedelta(seconds=2)
    assert isinstance(gate.review(entry(), book), Approved)


def test_a_refused_entry_is_no_duplicate_of_the_next() -> None:
    gate, book = Gate(SETTINGS), FakeBook(received=None)
    assert isinstance(gate.review(entry(), book), Refused)
    book.received = 0.1
    assert isinstance(gate.review(entry(), book), Approved)


def test_exits_are_never_duplicates() -> None:
    gate, book = Gate(SETTINGS), held(130)
    assert isinstance(gate.review(leave(), book), Approved)
    assert isinstance(gate.review(leave(), book), Approved)


@pytest.mark.parametrize(
    ("instrument", "side", "price", "expected"),
    [
        (NIFTY, Side.SELL, 25_000.0, 1_625_000.0),
        (CALL, Side.BUY, 100.0, 6_500.0),
        (CALL, Side.SELL, 100.0, 1_625_000.0),
        (CALL, Side.SELL, 26_000.0, 1_690_000.0),
    ],
)
def test_exposure_counts_a_written_option_at_its_strike(instrument: Instrument, side: Side, price: float, expected: float) -> None:
    assert exposure(instrument, side, 65, price) == expected


def test_exposure_without_a_strike_or_with_a_multiplier() -> None:
    assert exposure(msgspec.structs.replace(CALL, strike=None), Side.SELL, 65, 100.0) == 6_500.0
    assert exposure(msgspec.structs.replace(NIFTY, multiplier=10), Side.BUY, 1, 100.0) == 1_000.0
