"""Order state, portfolio and gate against small models of their own making, step by step over whatever Hypothesis thinks of."""

from collections import defaultdict
from datetime import timedelta

import msgspec
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.events import Action, OrderUpdate, Outcome, Reply, Trade
from core.types import Approved, Horizon, OrderState, Purpose, Side
from core.types import OrderState as S
from execution_engine.order_state import LIVE, TERMINAL, IllegalTransition, filled_to, legal, merge, move, replied
from execution_engine.portfolio import EXTERNAL, Portfolio
from risk.gate import Gate
from tests.builders import DAY, RELIANCE, NoCharges, at, make_order, make_trade, make_update
from tests.unit.risk_fakes import SETTINGS, FakeBook, entry

EXAMPLES, STEPS = 60, 50
QUANTITY = 130
ENDS = (S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED)


class OrderModel(RuleBasedStateMachine):
    """One order, told anything in any sequence. The model knows: what was filled at most, who may have ended it, its broker's id."""

    rows = Bundle("rows")

    @initialize(state=some.sampled_from((S.NEW, S.SENDING)))
    def born(self, state: OrderState) -> None:
        self.order = make_order(state=state)
        self.seconds = 0
        self.filled = 0
        self.ended: set[OrderState] = set()  # ends that somebody who may say so has told
        self.heard = False
        self.owner: str | None = None

    def _now(self) -> int:
        self.seconds += 1
        return self.seconds

    def _hear(self, row: OrderUpdate, *, fresh: bool = False) -> None:
        before = self.order
        self.order = merge(self.order, row, fresh=fresh).order
        if self.owner in (None, row.broker_order_id):
            self.owner, self.heard = row.broker_order_id, True
            self.filled = max(self.filled, row.filled)
            if row.state in ENDS:
                self.ended.add(row.state)
            elif row.state in LIVE and row.filled >= row.quantity:
                self.ended.add(S.FILLED)
        else:
            assert self.order is before, "another order's row changed ours"
        assert merge(self.order, row, fresh=fresh).order == self.order, "the same row again was news"

    # --- what may be told ---------------------------------------------------------------------------------------------------------------

    @rule(target=rows, state=some.sampled_from(sorted(LIVE)), filled=some.integers(0, QUANTITY), gap=some.integers(0, 3))
    def live_row(self, state: OrderState, filled: int, gap: int) -> OrderUpdate:
        self.seconds += gap
        row = make_update(self.seconds, state, filled)
        self._hear(row)
        return row

    @rule(target=rows, filled=some.integers(0, QUANTITY - 1), state=some.sampled_from((S.CANCELLED, S.EXPIRED)))
    def ended_row(self, state: OrderState, filled: int) -> OrderUpdate:
        row = make_update(self._now(), state, filled)
        self._hear(row)
        return row

    @rule(target=rows)
    def filled_row(self) -> OrderUpdate:
        row = make_update(self._now(), S.FILLED, QUANTITY)
        self._hear(row)
        return row

    @rule(target=rows)
    def rejected_row(self) -> OrderUpdate:
        row = make_update(self._now(), S.REJECTED, 0, reason="RMS")
        self._hear(row)
        return row

    @rule(target=rows, filled=some.integers(0, QUANTITY))
    def unknown_label(self, filled: int) -> OrderUpdate:
        row = make_update(self._now(), None, filled, label="FROBNICATED")
        self._hear(row)
        return row

    @rule(target=rows, state=some.sampled_from((S.WORKING, S.TRIGGER_PENDING)), price=some.sampled_from((24_999.0, 25_001.0)))
    def modified_row(self, state: OrderState, price: float) -> OrderUpdate:
        row = make_update(self._now(), state, self.filled if self.filled < QUANTITY else 0, limit_price=price)
        self._hear(row)
        return row

    @rule(row=rows)
    def again(self, row: OrderUpdate) -> None:
        self._hear(row)

    @rule(row=rows)
    def seen_later(self, row: OrderUpdate) -> None:
        self._hear(msgspec.structs.replace(row, at=at(self._now())))

    @rule(row=rows)
    def from_the_book_after_the_answer(self, row: OrderUpdate) -> None:
        self._hear(row, fresh=True)

    @rule(row=rows)
    def of_another_order(self, row: OrderUpdate) -> None:
        if self.owner is not None:
            self._hear(msgspec.structs.replace(row, broker_order_id="B2"))

    @rule(filled=some.integers(1, QUANTITY))
    def trades_ahead(self, filled: int) -> None:
        self.order = filled_to(self.order, filled, 25_000.0, at(self._now())).order
        self.filled = max(self.filled, filled)

    # --- how our calls end --------------------------------------------------------------------------------------------------------------

    def _reply(self, action: Action, outcome: Outcome, broker_order_id: str | None = None) -> None:
        reply = Reply(at(self._now()), action, self.order.id, outcome, broker_order_id, reason="the text")
        self.order = replied(self.order, reply).order

    @precondition(lambda self: self.order.state is not S.NEW)
    @rule()
    def acknowledged(self) -> None:
        self._reply(Action.PLACE, Outcome.ACK, "B1")
        self.owner = self.owner or "B1"

    @precondition(lambda self: self.order.state is not S.NEW)
    @rule()
    def place_refused(self) -> None:
        in_flight = self.order.state in (S.SENDING, S.UNKNOWN)
        self._reply(Action.PLACE, Outcome.REJECT)
        if in_flight:
            self.ended.add(S.REJECTED)

    @precondition(lambda self: self.order.state is not S.NEW)
    @rule()
    def place_unknown(self) -> None:
        before = self.order.state
        self._reply(Action.PLACE, Outcome.UNKNOWN)
        assert self.order.state is (S.UNKNOWN if before is S.SENDING else before)

    @rule(action=some.sampled_from((Action.MODIFY, Action.CANCEL)), outcome=some.sampled_from(Outcome))
    def command_answered(self, action: Action, outcome: Outcome) -> None:
        filled = self.order.filled
        self._reply(action, outcome)
        assert self.order.filled == filled

    # --- what we do -----------------------------------------------------------------------------------------------------------------------

    @rule(state=some.sampled_from(sorted(OrderState)))
    def moved(self, state: OrderState) -> None:
        """Any move: a legal one happens, an illegal one raises and changes nothing."""
        allowed = legal(self.order.state, state, self.order.previous_state)
        try:
            moved = move(self.order, state, at(self._now()))
        except IllegalTransition:
            assert not allowed
            return
        assert allowed
        if state in (S.SENDING, S.UNKNOWN, S.PENDING_CANCEL, S.PENDING_MODIFY):  # what our own code does without evidence
            self.order = moved

    @precondition(lambda self: self.order.state is S.UNKNOWN)
    @rule()
    def given_up(self) -> None:
        self.order = move(self.order, S.NOT_FOUND, at(self._now()))

    # --- what must hold ------------------------------------------------------------------------------------------------------------------

    @invariant()
    def no_fill_is_lost_or_invented(self) -> None:
        assert self.order.filled == self.filled

    @invariant()
    def it_ends_on_evidence_and_stays_ended(self) -> None:
        state = self.order.state
        if state in TERMINAL and state is not S.NOT_FOUND:
            assert state in self.ended, f"{state} on nobody's word"
        if S.FILLED in self.ended and self.owner == "B1":
            assert state in ENDS
        if self.ended and state not in TERMINAL:
            raise AssertionError(f"told {self.ended}, and it is {state}")

    @invariant()
    def the_first_broker_id_stays(self) -> None:
        assert self.order.broker_order_id == self.owner


class PortfolioModel(RuleBasedStateMachine):
    """Trades of two strategies and of others, told once or often, by trade or by row, over restarts. The model is a list of executions."""

    trades = Bundle("trades")

    @initialize()
    def opened(self) -> None:
        self.portfolio = Portfolio("practice", NoCharges())
        self.portfolio.start_day(DAY)
        self.fills: list[object] = []
        self.held: dict[str, int] = defaultdict(int)
        self.cash: dict[str, int] = defaultdict(int)
        self.price = 1_400.0
        self.count = 0

    def _book(self, strategy: str, trade: Trade) -> None:
        order = make_order(
            id=f"O-{trade.broker_order_id}", tag=f"TAG{trade.broker_order_id}", strategy=strategy, instrument=RELIANCE, side=trade.side,
            quantity=10_000, product="MIS", broker_order_id=trade.broker_order_id,
        )  # fmt: skip
        fill = self.portfolio.book(order, trade)
        if fill is not None:
            self.fills.append(fill)

    def _count(self, strategy: str, trade: Trade, quantity: int) -> None:
        self.held[strategy] += trade.side.sign * quantity
        self.cash[strategy] -= round(trade.side.sign * quantity * trade.price * 100)

    @rule(
        target=trades, strategy=some.sampled_from(("a", "b")), side=some.sampled_from(Side), quantity=some.integers(1, 500),
        price=some.integers(13_000, 15_000),
    )  # fmt: skip
    def ours(self, strategy: str, side: Side, quantity: int, price: int) -> tuple[str, Trade]:
        self.count += 1
        trade = make_trade(f"T{self.count}", quantity, price / 10, self.count, instrument=RELIANCE, side=side,
                           broker_order_id=f"B{self.count}")  # fmt: skip
        self._book(strategy, trade)
        self._count(strategy, trade, quantity)
        return strategy, trade

    @rule(told=trades)
    def ours_again(self, told: tuple[str, Trade]) -> None:
        self._book(*told)

    @rule(side=some.sampled_from(Side), quantity=some.integers(1, 500), price=some.integers(13_000, 15_000), twice=some.booleans())
    def of_others(self, side: Side, quantity: int, price: int, twice: bool) -> None:
        """It closes ours first, strategy by strategy in the order of their names; the rest is nobody's."""
        self.count += 1
        trade = make_trade(f"T{self.count}", quantity, price / 10, self.count, instrument=RELIANCE, side=side,
                           broker_order_id=f"X{self.count}")  # fmt: skip
        for _ in range(2 if twice else 1):
            self.fills += self.portfolio.book_foreign(trade, "MIS", Horizon.INTRADAY)
        rest = quantity
        for strategy in ("a", "b"):
            if self.held[strategy] * side.sign < 0:
                taken = min(rest, abs(self.held[strategy]))
                self._count(strategy, trade, taken)
                rest -= taken
        self.held[EXTERNAL] += side.sign * rest

    @rule(price=some.integers(13_000, 15_000))
    def marked(self, price: int) -> None:
        self.price = price / 10
        self.portfolio.mark(RELIANCE, self.price)

    @rule()
    def restarted(self) -> None:
        stored = list(self.portfolio.positions())
        self.portfolio = Portfolio("practice", NoCharges())
        self.portfolio.restore(stored, self.fills, DAY)  # type: ignore[arg-type]
        self.portfolio.mark(RELIANCE, self.price)

    @invariant()
    def positions_are_the_sum_of_executions(self) -> None:
        for strategy in ("a", "b"):
            assert self.portfolio.position(strategy, RELIANCE) == self.held[strategy]
        assert self.portfolio.net(RELIANCE, "MIS") == sum(self.held.values())
        assert self.portfolio.owned(RELIANCE, "MIS") == self.held["a"] + self.held["b"]

    @invariant()
    def money_is_conserved_to_the_paisa(self) -> None:
        self.portfolio.mark(RELIANCE, self.price)
        for strategy in ("a", "b"):
            worth = self.cash[strategy] + round(self.held[strategy] * self.price * 100)
            assert self.portfolio.net_result(strategy) == worth


class GateModel(RuleBasedStateMachine):
    """The gate's caps against sums done in one line each."""

    @initialize()
    def opened(self) -> None:
        self.gate = Gate(SETTINGS)
        self.book = FakeBook()
        self.locked = False

    @rule(seconds=some.floats(0, 90))
    def time_passes(self, seconds: float) -> None:
        self.book.now += timedelta(seconds=seconds)

    @rule(gross=some.floats(0, 1.1e7), own=some.floats(0, 1.1e7))
    def exposed(self, gross: float, own: float) -> None:
        self.book.gross, self.book.exposures["trend"] = max(gross, own), own

    @rule(pnl=some.floats(-40_000, 40_000))
    def result(self, pnl: float) -> None:
        self.book.pnl = pnl
        self.gate.watch(self.book)
        self.locked = self.locked or pnl <= -SETTINGS.max_daily_loss

    @rule(second=some.integers(0, 9), minute=some.integers(0, 210), day=some.integers(0, 2_100))
    def sent(self, second: int, minute: int, day: int) -> None:
        self.book.sent, self.book.sent_today = {1.0: second, 60.0: minute}, day

    @rule(age=some.floats(0, 12), margin=some.floats(0, 1e7), blind=some.sampled_from((None, None, None, "books")))
    def seen(self, age: float, margin: float, blind: str | None) -> None:
        self.book.received, self.book.margin, self.book.blind = age, margin, blind

    @rule(lots=some.integers(1, 200), price=some.floats(23_500, 26_500), side=some.sampled_from(Side))
    def asked(self, lots: int, price: float, side: Side) -> None:
        book, caps = self.book, SETTINGS
        price, quantity = round(price, 1), lots * 65
        request = entry(quantity=quantity, limit_price=price, side=side, at=book.now)
        verdict = self.gate.review(request, book)
        value = quantity * max(price, 25_000.0)
        fits = (
            not self.locked
            and quantity <= min(caps.max_order_quantity, 1755)
            and value <= min(caps.max_order_value, caps.max_instrument_value)
            and book.exposures.get("trend", 0.0) + value <= caps.max_strategy_exposure
            and book.gross + value <= caps.max_gross_exposure
            and book.sent.get(1.0, 0) < caps.orders_per_second
            and book.sent.get(60.0, 0) < caps.orders_per_minute
            and book.sent_today < caps.orders_per_day
            and (book.received or 0) <= caps.stale_after
            and book.blind is None
            and book.now < book.window.closes  # type: ignore[operator]
        )
        if isinstance(verdict, Approved):
            assert fits, f"approved {quantity} at {price}"
            assert request.purpose is Purpose.ENTRY
        elif fits:  # what the sums leave out: where the price lies, margin, the same order again
            assert verdict.rule in ("price_band", "margin", "duplicate", "runaway"), verdict


for machine in (OrderModel, PortfolioModel, GateModel):
    machine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
TestOrderModel = OrderModel.TestCase
TestPortfolioModel = PortfolioModel.TestCase
TestGateModel = GateModel.TestCase
