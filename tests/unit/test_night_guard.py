"""Stops of the night: set when the day's stop has ended, taken back when the market opens, and never beside another that could fill."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from core.events import Action, Books, BrokerPosition, Guard, OrderUpdate, Outcome, Reply, Trade
from core.types import Horizon, OrderState, Purpose, Side
from execution_engine.buy_sell_logic import Target
from execution_engine.night_guard import NightGuard
from execution_engine.protection import Protect
from tests.fakes import MemoryStore
from tests.harness import Harness

LOT = 65
STOP = 24_750.0  # one per cent under 25,000


class Triggers:
    """A broker's list of triggers, and what was asked of it."""

    def __init__(self) -> None:
        self.watched = False
        self.placed: list[tuple[str, Guard, float]] = []
        self.cancelled: list[str] = []
        self.rows: tuple[Guard, ...] = ()

    def watch_guards(self, watch: bool) -> None:
        self.watched = watch

    def place_guard(self, name: str, guard: Guard, last_price: float) -> None:
        self.placed.append((name, guard, last_price))

    def cancel_guard(self, name: str, guard: Guard) -> None:
        self.cancelled.append(guard.id)

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        return None

    def take(self, number: str = "7") -> None:
        """The latest one stands."""
        self.rows = (msgspec.structs.replace(self.placed[-1][1], id=number, label="active"),)


class Night(Harness):
    """A carried position with its stop of the day at the broker."""

    def __init__(self, triggers: Triggers | None = None, store: MemoryStore | None = None, **more: Any) -> None:
        self.triggers = triggers or Triggers()
        more = {"horizon": Horizon.CARRY, "stop_pct": 1.0, "protect": Protect(), **more}
        super().__init__(guards=self.triggers, store=store, **more)

    def enter(self) -> None:
        self.want(1)
        self.complete()
        self.tick(25_000.0, 1)
        stop = self.last
        assert stop.purpose is Purpose.PROTECT
        self.ack()
        self.engine.process(self.row(stop, OrderState.TRIGGER_PENDING, 0))
        self.engine.settle()

    def close(self) -> None:
        """The session is over, and its stop with it."""
        self.go_to(15, 40, 1)
        self.end(OrderState.CANCELLED)
        self.tick(25_000.0, 2)

    def listed(self, *orders: OrderUpdate, net: int = LOT, trades: tuple[Trade, ...] = ()) -> None:
        """One complete read of books and triggers."""
        self.clock.move_to(self.clock.now() + timedelta(milliseconds=1))
        now, held = self.clock.now(), BrokerPosition(self.instrument, "MIS", net, 25_000.0)
        self.engine.process(Books(now, now, (*self._rows(), *orders), trades, (held,), guards=self.triggers.rows))
        self.engine.settle()

    def _rows(self) -> list[OrderUpdate]:
        return [self.row(order, order.state, order.filled, order.average_price) for order in self.desk.all() if order.broker_order_id]

    def answer(self, outcome: Outcome, number: str | None = None, reason: str = "") -> None:
        name = self.triggers.placed[-1][0]
        self.engine.process(Reply(self.clock.now(), Action.PLACE, name, outcome, number, reason=reason))
        self.engine.settle()

    def morning(self) -> None:
        """The next day, some minutes before the open."""
        at = datetime.fromisoformat("2026-11-23T09:00:00+05:30")
        self.clock.move_to(at)
        self._open(at, resumed=False)


def overnight(**more: Any) -> Night:
    """A position whose trigger stands."""
    it = Night(**more)
    it.enter()
    it.close()
    it.triggers.take()
    it.answer(Outcome.ACK, "7")
    it.tick(25_000.0, 1)
    it.listed()
    return it


def kinds(it: Harness) -> list[str]:
    return [entry["kind"] for entry in it.store.read_journal() if entry["kind"].startswith("guard_")]


def test_it_is_set_once_the_days_stop_has_ended_and_stands_when_the_list_says_so() -> None:
    it = Night()
    it.enter()
    it.go_to(15, 40, 1)
    assert it.triggers.placed == [], "the stop of the day lives still"
    it.close()
    [(_, guard, last)] = it.triggers.placed
    assert (guard.side, guard.quantity, guard.trigger_price, guard.limit_price < STOP, last) == (Side.SELL, LOT, STOP, True, 25_000.0)
    it.answer(Outcome.ACK, "7")
    assert kinds(it) == ["guard_placed"]
    it.triggers.take()
    it.tick(25_000.0, 1)
    it.listed()
    assert kinds(it) == ["guard_placed", "guard_stands"]
    it.tick(25_000.0, 10)
    assert len(it.triggers.placed) == 1


def test_its_intent_is_on_disk_before_it_leaves() -> None:
    it = Night()
    it.enter()
    it.go_to(15, 40, 1)
    it.end(OrderState.CANCELLED)
    it.store.fail_commits = 1
    it.tick(25_000.0, 1)
    assert it.triggers.placed == []
    it.store.fail_commits = 0


@pytest.mark.parametrize("more", [{"protect": None}, {"horizon": Horizon.INTRADAY}])
def test_nothing_is_set_where_the_engine_holds_the_stops_or_nothing_is_carried(more: dict[str, Any]) -> None:
    it = Night(**more)
    it.want(1)
    it.complete()
    it.go_to(15, 40, 1)
    it.tick(25_000.0, 5)
    assert it.triggers.placed == []


def test_a_refusal_is_told_once_and_not_asked_again() -> None:
    it = Night()
    it.enter()
    it.close()
    it.answer(Outcome.REJECT, reason="Trigger price was too close to the last price.")
    it.tick(25_000.0, 20)
    assert it.told("No stop over the night") == ["page"]
    assert len(it.triggers.placed) == 1


def test_a_call_of_unknown_fate_is_found_by_its_terms_and_never_sent_again() -> None:
    it = Night()
    it.enter()
    it.close()
    it.answer(Outcome.UNKNOWN)
    it.triggers.take("9")
    it.tick(25_000.0, 10)
    it.listed()
    assert kinds(it) == ["guard_placed", "guard_stands"]
    assert len(it.triggers.placed) == 1


def test_one_that_no_list_of_its_evening_shows_is_not_set_again_and_is_told_once() -> None:
    """The list may stand still: a second one could fire beside the first."""
    it = Night()
    it.enter()
    it.close()
    it.answer(Outcome.UNKNOWN)
    for _ in range(12):
        it.tick(25_000.0, 30)
        it.listed()
    assert len(it.triggers.placed) == 1
    assert it.told("No stop over the night") == ["page"]
    it.triggers.take("9")
    it.listed()
    assert kinds(it) == ["guard_placed", "guard_stands"], "the list moves again, or a person has set it with the same terms"


def test_one_that_never_arrived_is_gone_by_the_lists_of_a_later_day() -> None:
    it = Night()
    it.enter()
    it.close()
    it.answer(Outcome.UNKNOWN)
    it.tick(25_000.0, 10)
    it.listed()
    it.morning()
    for _ in range(3):
        assert kinds(it) == ["guard_placed"]
        it.tick(25_000.0, 15)
        it.listed()
    assert kinds(it) == ["guard_placed", "guard_gone"]
    it.go_to(9, 15, 1)
    it.tick(25_000.0, 3)
    assert (it.last.purpose, it.last.trigger_price) == (Purpose.PROTECT, STOP)


def test_in_the_morning_it_is_taken_back_and_the_days_stop_waits_for_the_list() -> None:
    it = overnight()
    it.morning()
    it.listed()
    it.tick(25_000.0, 60)
    assert it.triggers.cancelled == [], "before the open it stands"
    it.go_to(9, 15, 1)
    it.tick(25_000.0, 2)
    assert it.triggers.cancelled == ["7"]
    placed = len(it.executor.placed)
    it.listed()
    it.tick(25_000.0, 1)
    assert len(it.executor.placed) == placed, "it is listed still"
    it.triggers.rows = (msgspec.structs.replace(it.triggers.rows[0], active=False, label="deleted"),)
    it.listed()
    it.tick(25_000.0, 2)
    assert (it.last.purpose, it.last.trigger_price) == (Purpose.PROTECT, STOP)
    assert kinds(it)[-1] == "guard_removed"
    assert not it.triggers.watched


def test_an_exit_waits_until_it_is_gone() -> None:
    it = overnight()
    it.morning()
    it.go_to(9, 15, 1)
    placed = len(it.executor.placed)
    it.want(0)
    it.tick(25_000.0, 3)
    assert len(it.executor.placed) == placed
    it.triggers.rows = ()
    it.listed()
    it.tick(25_000.0, 3)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_one_that_cannot_be_taken_back_is_paged() -> None:
    it = overnight()
    it.morning()
    it.go_to(9, 15, 1)
    it.tick(25_000.0, 40)
    assert it.told("An exit waits for a stop") == ["page"]
    assert len(it.triggers.cancelled) > 3


def test_one_that_fired_closes_the_position_and_nothing_goes_beside_it() -> None:
    it = overnight()
    it.morning()
    it.triggers.rows = (msgspec.structs.replace(it.triggers.rows[0], active=False, fired=True, order_id="G1", label="triggered"),)
    it.go_to(9, 15, 1)
    placed = len(it.executor.placed)
    working = OrderUpdate(it.clock.now(), "book", "G1", it.instrument, Side.SELL, LOT, OrderState.WORKING, 0, 0.0, product="MIS")
    it.tick(24_700.0, 1)
    it.listed(working)
    it.tick(24_700.0, 3)
    assert len(it.executor.placed) == placed, "its order is the exit"
    done = msgspec.structs.replace(working, state=OrderState.FILLED, filled=LOT, average_price=24_690.0)
    it.listed(done, net=0, trades=(it.trade("G1", Side.SELL, LOT, 24_690.0),))
    it.tick(24_700.0, 3)
    assert (it.held, len(it.executor.placed)) == (0, placed)
    assert it.told("The stop of the night fired") == ["page"]
    assert kinds(it)[-2:] == ["guard_fired", "guard_done"]


def test_one_whose_order_failed_leaves_the_exit_to_the_engine() -> None:
    it = overnight()
    it.morning()
    it.triggers.rows = (msgspec.structs.replace(it.triggers.rows[0], active=False, fired=True, label="triggered: circuit limit"),)
    it.go_to(9, 15, 1)
    it.tick(24_700.0, 1)
    it.listed()
    it.tick(24_700.0, 1)
    it.listed()
    it.tick(24_700.0, 3)
    assert (it.last.purpose, it.last.side) == (Purpose.EXIT, Side.SELL)


def test_the_next_process_finds_it_again() -> None:
    it = overnight()
    again = it.restarted(triggers=it.triggers)
    assert it.triggers.watched
    again.tick(25_000.0, 5)
    assert len(it.triggers.placed) == 1


def test_somebody_else_deleted_it() -> None:
    it = overnight()
    it.triggers.rows = ()
    for _ in range(4):
        it.tick(25_000.0, 45)
        it.listed()
    assert "guard_gone" in kinds(it)


class Careless(NightGuard):
    """Forgets that its triggers may fill."""

    def stands(self, target: Target) -> bool:
        return False


def stops_at_the_open(it: Night) -> int:
    """How many stops could fill just after the open: triggers that are listed, and stops of the day."""
    it.morning()
    it.listed()
    it.go_to(9, 15, 1)
    it.tick(25_000.0, 5)
    day = [order for order in it.desk.live() if order.purpose is Purpose.PROTECT]
    return len(day) + sum(row.active for row in it.triggers.rows)


def test_there_are_never_two_stops_and_a_guard_that_forgets_that_is_seen() -> None:
    assert stops_at_the_open(overnight()) == 1
    planted = overnight()
    planted.engine.night.__class__ = Careless
    planted.engine.protection.night = planted.engine.night.stands
    assert stops_at_the_open(planted) == 2
