"""A strategy's own limits of the day: profit defended, trades counted, pauses kept; over restarts, and never against an exit."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from core.types import Fill, OrderState, Position, Purpose, Refused, Side
from execution_engine.limits import strategy_limits
from execution_engine.trades import Trades
from risk.gate import Gate
from risk.settings import NO_LIMITS, StrategyLimits
from tests.builders import DAY, NIFTY, RELIANCE, T0, at, make_order
from tests.harness import WIDE, Harness
from tests.unit.risk_fakes import FakeBook, entry, held, leave, settings
from utils.config_schema import StrategyRisk


def limited(**limits: Any) -> Gate:
    return Gate(settings(strategies={"trend": StrategyLimits(**limits)}))


def rule_of(verdict: object) -> str | None:
    return verdict.rule if isinstance(verdict, Refused) else None


def watched(gate: Gate, pnl: float, **more: Any) -> list[str]:
    """The rules that lock as the result of `trend` moves to `pnl`."""
    gate.watch(FakeBook(pnls={"trend": pnl}, **more))
    return [breach.rule for breach in gate.take_breaches()]


# --- the profit lock ----------------------------------------------------------------------------------------------------------------


def test_a_profit_is_defended_from_its_mark_on() -> None:
    gate = limited(lock_at=8_000.0, lock_keep=60.0)
    assert watched(gate, 7_999.0) == []
    assert watched(gate, 0.0) == []  # the mark was not reached: nothing to defend
    assert watched(gate, 10_000.0) == []
    assert watched(gate, 6_000.01) == []
    gate.watch(FakeBook(pnls={"trend": 6_000.0}))
    [breach] = gate.take_breaches()
    assert (breach.rule, breach.strategy, breach.flatten) == ("profit_lock", "trend", True)
    assert "6000.00 rupees today after 10000.00" in breach.reason
    refused = gate.review(entry(), FakeBook(pnls={"trend": 20_000.0}))
    assert isinstance(refused, Refused)
    assert (refused.rule, refused.permanent) == ("profit_lock", True)
    assert rule_of(gate.review(entry(strategy="other"), FakeBook())) is None
    assert rule_of(gate.review(leave(), held(pnls={"trend": 6_000.0}))) is None
    assert gate.locks(DAY).keys() == {"trend"}


def test_keeping_all_of_it_ends_the_day_at_the_mark_itself() -> None:
    gate = limited(lock_at=5_000.0)
    assert watched(gate, 4_999.99) == []
    assert watched(gate, 5_000.0) == ["profit_lock"]


def test_the_best_of_the_day_and_the_lock_survive_a_restart_and_end_with_the_day() -> None:
    gate = limited(lock_at=8_000.0, lock_keep=50.0)
    watched(gate, 9_000.0)
    assert gate.changed

    def restarted(old: Gate) -> Gate:
        kept = msgspec.json.decode(msgspec.json.encode(old.state()))
        new = limited(lock_at=8_000.0, lock_keep=50.0)
        new.restore(kept)
        return new

    gate = restarted(gate)
    assert not gate.changed
    assert watched(gate, 4_500.0) == ["profit_lock"]
    gate = restarted(gate)
    assert rule_of(gate.review(entry(), FakeBook())) == "profit_lock"
    tomorrow = FakeBook(now=T0 + timedelta(days=1), pnls={"trend": 100.0})
    gate.watch(tomorrow)
    assert gate.take_breaches() == []
    assert rule_of(gate.review(entry(), FakeBook(now=tomorrow.now, window=tomorrow.window))) == "window"  # not the lock any more


def test_a_ledger_without_profits_is_taken_up() -> None:
    gate = limited(lock_at=1_000.0)
    gate.restore({"locks": {}})
    assert watched(gate, 1_000.0) == ["profit_lock"]


def test_other_limits_count_at_once_and_open_no_lock() -> None:
    gate = limited(max_loss=9_000.0)
    assert watched(gate, -6_000.0) == []
    gate.take_limits({"trend": StrategyLimits(max_loss=5_000.0)})
    assert watched(gate, -6_000.0) == ["strategy_loss"]
    gate.take_limits({"trend": StrategyLimits(max_loss=50_000.0, max_trades=1)})
    assert rule_of(gate.review(entry(), FakeBook())) == "strategy_loss"
    gate.take_limits({"other": StrategyLimits(max_trades=1)})
    assert rule_of(gate.review(entry(strategy="other"), FakeBook(begun={"other": 1}))) == "max_trades"


# --- trades a day and the pause -----------------------------------------------------------------------------------------------------


def test_the_last_trade_of_the_day_is_taken_and_no_more() -> None:
    gate = limited(max_trades=3)
    assert rule_of(gate.review(entry(), FakeBook(begun={"trend": 2}))) is None
    refused = gate.review(entry(limit_price=25_001.0), FakeBook(begun={"trend": 3}))
    assert isinstance(refused, Refused)
    assert (refused.rule, refused.permanent) == ("max_trades", True)
    assert "has begun 3 trades today, risk.max_trades allows 3" in refused.reason
    assert rule_of(gate.review(entry(limit_price=25_002.0), held(begun={"trend": 3}))) is None  # adds to a trade
    assert rule_of(gate.review(leave(), held(begun={"trend": 3}))) is None


def test_an_entry_that_still_works_may_become_the_last_trade() -> None:
    gate = limited(max_trades=3)
    elsewhere = make_order(state=OrderState.WORKING, instrument=RELIANCE, name="RELIANCE")
    assert rule_of(gate.review(entry(), FakeBook(begun={"trend": 2}, orders=[elsewhere]))) == "max_trades"
    slice_ = make_order(state=OrderState.WORKING, limit_price=24_990.0)
    assert rule_of(gate.review(entry(), FakeBook(begun={"trend": 2}, orders=[slice_]))) is None


@pytest.mark.parametrize(("after", "seen"), [("loss", "lost"), ("exit", "ended")])
def test_a_pause_follows_the_end_it_is_configured_for(after: Any, seen: str) -> None:
    gate = limited(cooldown_minutes=10.0, cooldown_after=after)
    other = {"lost": "ended", "ended": "lost"}[seen]
    refused = gate.review(entry(), FakeBook(**{seen: T0 - timedelta(minutes=9, seconds=59)}))  # type: ignore[arg-type]
    assert isinstance(refused, Refused)
    assert (refused.rule, refused.permanent) == ("cooldown", False)
    assert "it pauses until 09:30:01" in refused.reason
    assert rule_of(gate.review(entry(), FakeBook(**{other: T0}))) is None  # type: ignore[arg-type]
    assert rule_of(gate.review(entry(limit_price=25_001.0), FakeBook(**{seen: T0 - timedelta(minutes=10)}))) is None  # type: ignore[arg-type]
    assert rule_of(gate.review(leave(), held(65, **{seen: T0}))) is None


def test_what_a_file_says_reaches_the_gate() -> None:
    risk = StrategyRisk.model_validate(
        {"max_loss": 1.0, "lock_profit": {"at": 2.0, "keep": 50.0}, "max_trades": 4, "cooldown": {"minutes": 5.0, "after": "exit"}}
    )
    given: Any = type("Given", (), {"risk": risk})
    empty: Any = type("Empty", (), {"risk": StrategyRisk()})
    wanted = StrategyLimits(max_loss=1.0, lock_at=2.0, lock_keep=50.0, max_trades=4, cooldown_minutes=5.0, cooldown_after="exit")
    assert strategy_limits({"a": given, "b": empty}) == {"a": wanted, "b": NO_LIMITS}


# --- what a trade is ------------------------------------------------------------------------------------------------------------------


def fill(number: int, side: Side, quantity: int, price: float, charges: int = 0, days: int = 0, **more: Any) -> Fill:
    when = at(number * 60) + timedelta(days=days)
    return msgspec.structs.replace(Fill(f"T{number}", "o", "practice", "trend", NIFTY, side, quantity, price, when, charges), **more)


def booked(*fills: Fill) -> Trades:
    trades = Trades()
    for one in fills:
        trades.book(one)
    return trades


def test_a_trade_is_from_flat_to_flat_however_many_fills_it_has() -> None:
    trades = booked(fill(1, Side.BUY, 65, 100.0), fill(2, Side.BUY, 65, 101.0), fill(3, Side.SELL, 65, 102.0))
    assert (trades.begun("trend", DAY), trades.ended("trend", DAY, losing=False)) == (1, None)
    trades.book(fill(4, Side.SELL, 65, 102.0))
    assert (trades.begun("trend", DAY), trades.ended("trend", DAY, losing=False)) == (1, at(240))
    assert trades.ended("trend", DAY, losing=True) is None


def test_turning_round_in_one_fill_ends_one_and_begins_another() -> None:
    trades = booked(fill(1, Side.BUY, 65, 100.0), fill(2, Side.SELL, 130, 99.0))
    assert trades.begun("trend", DAY) == 2
    assert trades.ended("trend", DAY, losing=True) == at(120)
    trades.book(fill(3, Side.BUY, 65, 98.0))  # the short one won
    assert trades.ended("trend", DAY, losing=False) == at(180)
    assert trades.ended("trend", DAY, losing=True) == at(120)


def test_charges_make_a_loss_of_a_scratch() -> None:
    assert booked(fill(1, Side.BUY, 65, 100.0), fill(2, Side.SELL, 65, 100.0)).ended("trend", DAY, losing=True) is None
    assert booked(fill(1, Side.BUY, 65, 100.0, 1), fill(2, Side.SELL, 65, 100.0)).ended("trend", DAY, losing=True) == at(120)


def test_a_new_day_counts_anew_and_a_carried_trade_ends_with_all_its_fills() -> None:
    trades = booked(fill(1, Side.BUY, 65, 100.0), fill(2, Side.SELL, 65, 99.0, days=1))
    tomorrow = DAY + timedelta(days=1)
    assert (trades.begun("trend", DAY), trades.begun("trend", tomorrow)) == (0, 0)
    assert trades.ended("trend", tomorrow, losing=True) == at(120) + timedelta(days=1)
    assert trades.ended("trend", DAY, losing=True) is None


def test_a_position_that_went_without_a_fill_is_no_open_trade() -> None:
    trades = booked(fill(1, Side.BUY, 65, 100.0))
    trades.agree([Position("practice", "trend", NIFTY, "MIS", 0, 0.0)])
    trades.book(fill(2, Side.BUY, 65, 100.0))
    assert trades.begun("trend", DAY) == 2


# --- in the engine --------------------------------------------------------------------------------------------------------------------


def trading(**limits: Any) -> Harness:
    return Harness(risk=msgspec.structs.replace(WIDE, strategies={"told": StrategyLimits(**limits)}))


def round_trip(it: Harness, price: float) -> None:
    """Buy at 25000, sell at `price`."""
    it.want(1)
    it.complete(25000.0)
    it.tick(price)
    it.want(0)
    it.complete(price)
    it.tick(25000.0, 1.0)


def test_after_a_losing_trade_the_next_entry_waits_for_the_end_of_the_pause() -> None:
    it = trading(cooldown_minutes=5.0)
    round_trip(it, 24990.0)
    sent = len(it.executor.placed)
    it.want(1)
    assert len(it.executor.placed) == sent
    assert [entry["rule"] for entry in it.journal("refused")] == ["cooldown"]
    it.tick(25000.0, 301.0)
    it.want(1)  # the same target: the bar tries what waits
    assert it.last.purpose is Purpose.ENTRY
    assert len(it.executor.placed) == sent + 1
    it.complete(25000.0)
    it.want(0)
    it.complete(24990.0)
    it.tick(25000.0, 1.0)
    it.want(1)
    assert [entry["rule"] for entry in it.journal("refused")].count("cooldown") == 2  # each pause is journalled


def test_the_days_last_trade_is_counted_over_a_restart() -> None:
    it = trading(max_trades=1)
    round_trip(it, 25010.0)
    again = it.restarted(risk=msgspec.structs.replace(WIDE, strategies={"told": StrategyLimits(max_trades=1)}))
    again.books()
    again.tick(25000.0, 2.0)
    again.want(1)
    assert not again.executor.placed
    assert again.target.latched
    assert [entry["rule"] for entry in again.journal("refused")] == ["max_trades"]


def test_a_defended_profit_closes_the_position_and_is_journalled() -> None:
    it = trading(lock_at=1_000.0, lock_keep=50.0)
    it.want(1)
    it.complete(25000.0)
    it.tick(25020.0)
    it.pass_time(1.0)
    assert it.store.get("engine", "gate")["profits"]["best"]["told"][1] == 1300.0
    it.tick(25009.0)
    it.pass_time(1.0)
    [breach] = it.journal("breach")
    assert (breach["rule"], breach["strategy"]) == ("profit_lock", "told")
    assert (it.last.side, it.last.purpose) == (Side.SELL, Purpose.EXIT)
    it.complete(25009.0)
    it.want(-1)
    assert it.last.purpose is Purpose.EXIT  # no entry after it
    assert it.held == 0
