"""The gate as a whole: locks, runaways, modifications, and a reference model that a hostile stream of requests cannot pass."""

import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.types import Approved, Order, OrderRequest, OrderState, OrderType, Purpose, Refused, Side, TradingState
from risk.gate import Breach, Gate
from risk.settings import MarginSettings, RiskSettings, StrategyLimits
from tests.builders import DAY, NIFTY, RELIANCE, T0, make_order
from tests.unit.risk_fakes import SETTINGS, FakeBook, entry, held, leave, settings


def rule_of(answer: Approved | Refused) -> str | None:
    return answer.rule if isinstance(answer, Refused) else None


# --- loss locks -------------------------------------------------------------------------------------------------------------------


def test_a_loss_just_inside_the_limit_does_not_lock() -> None:
    gate = Gate(SETTINGS)
    assert rule_of(gate.review(entry(), FakeBook(pnl=-24_999.99))) is None
    assert gate.take_breaches() == []


def test_a_loss_at_the_limit_locks_the_account_for_the_day_whatever_comes_after() -> None:
    gate, book = Gate(SETTINGS), FakeBook(pnl=-25_000.0)
    answer = gate.review(entry(), book)
    assert isinstance(answer, Refused)
    assert (answer.rule, answer.permanent) == ("daily_loss", True)
    (breach,) = gate.take_breaches()
    assert (breach.rule, breach.wants, breach.strategy, breach.flatten, breach.at) == ("daily_loss", None, "", True, T0)
    book.pnl = 50_000.0
    assert rule_of(gate.review(entry(strategy="other"), book)) == "daily_loss"
    assert rule_of(gate.review(leave(), held(pnl=-25_000.0))) is None
    assert gate.take_breaches() == []
    assert list(gate.locks(DAY)) == [""]


def test_a_lock_ends_with_its_day() -> None:
    gate, book = Gate(SETTINGS), FakeBook(pnl=-25_000.0)
    gate.watch(book)
    book.now, book.pnl = T0 + timedelta(days=1), 0.0
    book.window = msgspec.structs.replace(book.window, opens=book.now, closes=book.now + timedelta(hours=1))
    assert gate.locks(book.now.date()) == {}
    assert rule_of(gate.review(entry(instrument=RELIANCE, limit_price=25_000.0), book)) is None


def test_watching_locks_without_a_request_and_tells_once() -> None:
    gate, book = Gate(settings(flatten_on_loss=False)), FakeBook(pnl=-30_000.0)
    gate.watch(book)
    gate.watch(book)
    assert [breach.flatten for breach in gate.take_breaches()] == [False]


def test_a_loss_that_is_not_a_number_locks() -> None:
    gate = Gate(SETTINGS)
    assert rule_of(gate.review(entry(), FakeBook(pnl=math.nan))) == "daily_loss"


def test_a_strategy_locks_alone_at_its_own_limit() -> None:
    gate = Gate(settings(strategies={"trend": StrategyLimits(max_loss=5_000.0)}, max_strategy_loss=8_000.0))
    book = FakeBook(pnls={"trend": -5_000.0, "other": -7_999.99})
    gate.watch(book)
    assert [(breach.rule, breach.strategy) for breach in gate.take_breaches()] == [("strategy_loss", "trend")]
    assert rule_of(gate.review(entry(), book)) == "strategy_loss"
    assert rule_of(gate.review(entry(strategy="other"), book)) is None
    book.pnls["other"] = -8_000.0
    assert rule_of(gate.review(entry(strategy="other"), book)) == "strategy_loss"
    assert set(gate.locks(DAY)) == {"trend", "other"}


def test_a_strategy_without_a_limit_of_its_own_never_locks() -> None:
    gate, book = Gate(SETTINGS), FakeBook(pnls={"trend": -1e9})
    assert rule_of(gate.review(entry(), book)) is None


def test_a_strategy_just_inside_its_limit_goes_on() -> None:
    gate = Gate(settings(strategies={"trend": StrategyLimits(max_loss=5_000.0)}))
    assert rule_of(gate.review(entry(), FakeBook(pnls={"trend": -4_999.99}))) is None


def test_a_restart_does_not_open_a_lock() -> None:
    before = Gate(SETTINGS)
    before.watch(FakeBook(pnl=-25_000.0))
    kept = msgspec.json.decode(msgspec.json.encode(before.state()))
    after = Gate(SETTINGS)
    after.restore(kept)
    assert rule_of(after.review(entry(), FakeBook())) == "daily_loss"
    assert after.take_breaches() == []


# --- runaways ---------------------------------------------------------------------------------------------------------------------


def test_a_runaway_halts_within_one_order() -> None:
    gate, book = Gate(SETTINGS), FakeBook(received=None)  # refused attempts count as well
    for _ in range(16):
        assert rule_of(gate.review(entry(), book)) == "stale"
    assert gate.take_breaches() == []
    answer = gate.review(entry(), book)
    assert isinstance(answer, Refused)
    assert (answer.rule, answer.permanent) == ("runaway", True)
    (breach,) = gate.take_breaches()
    assert (breach.rule, breach.wants) == ("runaway", TradingState.HALTED)
    book.state = TradingState.HALTED
    assert rule_of(gate.review(entry(), book)) == "runaway"
    assert gate.take_breaches() == []  # it is halted already


def test_as_many_attempts_over_a_full_second_are_no_runaway() -> None:
    gate, book = Gate(SETTINGS), FakeBook(received=None)
    for number in range(40):
        book.now = T0 + timedelta(seconds=number / 16)
        assert rule_of(gate.review(entry(), book)) == "stale"


def test_exits_are_no_runaway() -> None:
    gate, book = Gate(SETTINGS), held(65)
    assert [rule_of(gate.review(leave(), book)) for _ in range(50)] == [None] * 50


# --- modifications ----------------------------------------------------------------------------------------------------------------


def change(order: Order, book: FakeBook, using: RiskSettings = SETTINGS, **changes: Any) -> Approved | Refused:
    wanted: dict[str, Any] = {"quantity": order.quantity, "limit_price": order.limit_price, "trigger_price": order.trigger_price}
    return Gate(using).review_change(order, **(wanted | changes), book=book)


def test_a_change_is_judged_by_what_it_leaves_to_fill() -> None:
    order = make_order(quantity=130, filled=65, state=OrderState.WORKING)
    answer = change(order, FakeBook(orders=[order]), settings(max_order_quantity=65), limit_price=25_000.5)
    assert isinstance(answer, Approved)
    assert (answer.request.quantity, answer.request.limit_price, answer.request.purpose) == (65, 25_000.5, Purpose.ENTRY)


def test_a_changed_order_is_not_counted_beside_itself() -> None:
    order = make_order(quantity=65, state=OrderState.WORKING)
    using = settings(max_instrument_value=1_625_000.0, max_strategy_exposure=1_625_000.0, max_gross_exposure=1_625_000.0)
    assert isinstance(change(order, FakeBook(orders=[order]), using), Approved)
    other = make_order(id="20261120-2", quantity=65, limit_price=24_990.0)
    assert rule_of(change(order, FakeBook(orders=[order, other]), using)) == "instrument_value"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"limit_price": 30_000.0}, "price_band"), ({"limit_price": math.nan}, "well_formed"), ({"quantity": 650}, "order_value")],
)
def test_a_change_cannot_pass_what_a_new_order_could_not(changes: dict[str, Any], rule: str) -> None:
    order = make_order(quantity=65)
    assert rule_of(change(order, FakeBook(orders=[order]), **changes)) == rule


def test_a_change_to_nothing_is_refused() -> None:
    order = make_order(quantity=130, filled=65)
    answer = change(order, FakeBook(orders=[order]), quantity=65)
    assert isinstance(answer, Refused)
    assert (answer.rule, answer.permanent) == ("well_formed", True)


def test_a_change_of_an_entry_is_no_duplicate_but_a_halted_account_takes_none() -> None:
    order = make_order(quantity=65)
    twin = make_order(id="20261120-2", quantity=65)
    assert isinstance(change(order, FakeBook(orders=[order, twin])), Approved)
    assert rule_of(change(order, FakeBook(orders=[order], state=TradingState.HALTED))) == "trading_state"


def test_an_exit_may_chase_the_price_while_the_account_is_halted() -> None:
    order = make_order(side=Side.SELL, purpose=Purpose.EXIT, quantity=65)
    book = held(65, orders=[order], closings={("trend", NIFTY.key): 65}, state=TradingState.HALTED)
    assert isinstance(change(order, book, limit_price=24_900.0), Approved)
    answer = change(order, book, quantity=130)
    assert isinstance(answer, Refused)
    assert (answer.rule, answer.permanent) == ("owned", False)
    book.closings["trend", NIFTY.key] = 130  # another exit takes the lot
    assert rule_of(change(order, book, limit_price=24_900.0)) == "owned"


def test_the_fills_of_another_key_are_not_taken_for_the_changed_orders() -> None:
    order = make_order(side=Side.SELL, purpose=Purpose.EXIT, quantity=65, filled=0)
    book = held(65, closings={("trend", NIFTY.key): 65})
    other = make_order(side=Side.SELL, purpose=Purpose.EXIT, quantity=65, strategy="other")
    assert rule_of(change(other, book)) == "owned"
    assert isinstance(change(order, book), Approved)
    assert isinstance(change(make_order(side=Side.SELL, purpose=Purpose.ROLL, quantity=65), book), Approved)  # a leg of a roll, likewise


# --- settings ---------------------------------------------------------------------------------------------------------------------


CAP_NAMES = [
    name for name in RiskSettings.__struct_fields__ if type(getattr(SETTINGS, name)) in (int, float) and name != "max_strategy_loss"
]


@pytest.mark.parametrize("name", CAP_NAMES)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "3", None, True])
def test_a_cap_must_be_a_number_above_zero(name: str, value: object) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        RiskSettings(**changes)


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="runaway_factor"):
        RiskSettings(runaway_factor=0.99)
    with pytest.raises(ValueError, match="max_loss"):
        StrategyLimits(max_loss=-5.0)
    with pytest.raises(ValueError, match="lock_keep"):
        StrategyLimits(lock_at=1_000.0, lock_keep=101.0)
    with pytest.raises(ValueError, match=r"margin\.index_future"):
        MarginSettings(index_future=0.0)
    with pytest.raises(ValueError, match="max_strategy_loss"):
        RiskSettings(max_strategy_loss=0.0)
    assert RiskSettings(runaway_factor=1.0, max_strategy_loss=0.01).loss_limit("any") == 0.01


# --- a hostile stream against a reference model -----------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, -65, 1, 64, 65, 66, 130, 195, 1755, 1820, 10**9, 10**18, 10**400, math.nan, math.inf, -math.inf, 65.0, True, None]
    ),
    st.integers(-(10**6), 10**6),
)
PRICES = st.one_of(
    st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf, 1e300, 1e-300, 10**400, 25_000.05, None, "1", 24_250.0, 25_750.0, 20_000.0]),
    st.integers(190_000, 310_000).map(lambda tenths: tenths / 10),
    st.floats(),
)
REQUESTS = st.builds(
    entry,
    strategy=st.sampled_from(["trend", "other"]),
    instrument=st.sampled_from([NIFTY, RELIANCE]),
    side=st.sampled_from(Side),
    quantity=NUMBERS | st.just(65) | st.just(130),
    order_type=st.sampled_from(OrderType) | st.just(OrderType.LIMIT),
    purpose=st.sampled_from(Purpose) | st.just(Purpose.ENTRY),
    limit_price=PRICES | st.just(25_000.0),
    trigger_price=st.none() | PRICES,
)
CAPS = RiskSettings(
    max_order_value=4_000_000.0,
    max_order_quantity=200,
    max_instrument_value=5_000_000.0,
    max_strategy_exposure=6_000_000.0,
    max_gross_exposure=8_000_000.0,
    orders_per_second=1_000_000,
    orders_per_minute=10,
    orders_per_day=1_000,
)


def model_allows(request: OrderRequest, book: FakeBook) -> None:
    """What must be true of anything the gate lets through, written without the rules: plain arithmetic on what fills would do."""
    assert type(request.quantity) is int
    assert request.quantity > 0
    assert request.quantity % request.instrument.lot == 0
    assert math.isfinite(request.limit_price)
    assert request.order_type in (OrderType.LIMIT, OrderType.SL)
    signed = request.quantity * request.side.sign
    mine = book.position(request.strategy, request.instrument)
    if request.purpose in (Purpose.EXIT, Purpose.PROTECT, Purpose.SQUARE_OFF):
        assert mine * signed < 0
        assert abs(mine + signed) < abs(mine)
        assert (mine + signed) * mine >= 0
        return
    if mine * signed < 0:  # only a roll's closing leg may oppose
        assert request.purpose is Purpose.ROLL
        assert abs(signed) <= abs(mine)
        return
    assert 24_250.0 <= request.limit_price <= 25_750.0
    price = max(request.limit_price, 25_000.0)
    assert request.quantity <= 200
    assert price * request.quantity <= 4_000_000.0
    assert (book.on_side(request.instrument, request.side) + request.quantity) * price <= 5_000_000.0
    assert book.exposures.get(request.strategy, 0.0) + price * request.quantity <= 6_000_000.0
    assert book.gross + price * request.quantity <= 8_000_000.0


def fill(book: FakeBook, request: OrderRequest) -> None:
    """Fill an approved order at once at 25,000 and mark the book."""
    key = (request.strategy, request.instrument.key)
    signed = request.quantity * request.side.sign
    book.positions[key] = book.positions.get(key, 0) + signed
    book.nets[request.instrument.key] = book.nets.get(request.instrument.key, 0) + signed
    for strategy in ("trend", "other"):
        book.exposures[strategy] = sum(abs(held) * 25_000.0 for (owner, _), held in book.positions.items() if owner == strategy)
    book.gross = sum(book.exposures.values())
    book.sent[60.0] = book.sent.get(60.0, 0) + 1


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(REQUESTS, max_size=40))
def test_no_stream_of_requests_passes_any_cap(requests: list[OrderRequest]) -> None:
    gate, book = Gate(CAPS), FakeBook()
    for number, request in enumerate(requests):
        book.now = T0 + timedelta(seconds=3 * number)
        answer = gate.review(request, book)
        assert isinstance(answer, Approved | Refused)
        if isinstance(answer, Approved):
            assert answer.request is request
            model_allows(request, book)
            fill(book, request)
        else:
            assert answer.reason
        assert max((abs(units) * 25_000.0 for units in book.nets.values()), default=0.0) <= 5_000_000.0
        assert book.gross <= 8_000_000.0
        assert book.sent.get(60.0, 0) <= 20  # ten entries, or exits up to twice that
    assert all(isinstance(one, Breach) for one in gate.take_breaches())


def test_the_hostile_stream_is_no_empty_proof() -> None:
    gate, book = Gate(CAPS), FakeBook()
    passed = 0
    for number in range(4):
        book.now = T0 + timedelta(seconds=3 * number)
        answer = gate.review(entry(), book)
        if isinstance(answer, Approved):
            model_allows(entry(), book)
            fill(book, entry())
            passed += 1
    assert passed == 3  # the fourth lot would exceed max_instrument_value


@pytest.mark.parametrize(
    ("account", "strategy"), [(math.nan, 0.0), (0.0, math.nan), (math.nan, math.nan), (-math.inf, 0.0), (0.0, -math.inf), (0.0, -999.5)]
)
def test_a_result_that_is_no_number_leaves_no_room(account: float, strategy: float) -> None:
    gate = Gate(settings(max_daily_loss=5_000.0, max_strategy_loss=1_000.0))
    assert not gate.room(FakeBook(pnl=account, pnls={"trend": strategy})) > 0.0


def test_a_result_that_is_no_number_leaves_no_room_beside_scopes_that_are_locked() -> None:
    gate = Gate(settings(max_daily_loss=5_000.0, max_strategy_loss=1_000.0))
    assert gate.watch(FakeBook(pnl=-5_000.0))
    assert gate.room(FakeBook(pnl=-5_000.0, pnls={"trend": 0.0})) == 999.0
    assert not gate.room(FakeBook(pnl=-5_000.0, pnls={"trend": math.nan})) > 0.0


def test_a_working_orders_own_margin_is_free_for_its_change() -> None:
    order = make_order(quantity=65)
    terms: dict[str, Any] = {"quantity": order.quantity, "limit_price": order.limit_price + 10.0, "trigger_price": None}
    gate, more = Gate(settings()), order.quantity * 10.0 * SETTINGS.margin.index_future  # what the change alone blocks
    assert rule_of(gate.review_change(order, **terms, book=FakeBook(orders=[order], margin=more + 1.0))) is None
    assert rule_of(gate.review_change(order, **terms, book=FakeBook(orders=[order], margin=more - 1.0))) == "margin"
    assert rule_of(gate.review_change(order, **terms, book=FakeBook(orders=[order], margin=None))) is None
