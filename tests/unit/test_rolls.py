"""A carried position's roll: one pair, never doubled, never silently halved, on its day, whatever fails or dies in the middle."""

from datetime import date, datetime, timedelta
from typing import Any, Self

import msgspec
import pytest

from core.events import Action, Books, BrokerPosition, Outcome, Trade
from core.types import AccountKind, Horizon, Instrument, Kind, Order, OrderState, Purpose, Side, Tick, TradingState
from execution_engine.buy_sell_logic import Size, Target
from execution_engine.rollover import CLOSING, DONE, Roll, Rolls, Switch
from tests.harness import DAY, FUTURE, Harness

ROLL_AT = DAY.replace(hour=15)  # Friday the 20th is E-1 of the contracts that expire on Monday the 23rd
NEXT = Instrument("NFO:NIFTY26DECFUT", "NFO", "NIFTY26DECFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 12, 29), freeze=1755)
GAP = 150.0


class Rolling(Harness):
    """The harness with a carried position: the name `IT` means FUTURE today, and NEXT after its roll at 15:00."""

    def __init__(
        self,
        *,
        new: Instrument | None = NEXT,
        today: Instrument | None = FUTURE,
        due: Any = ROLL_AT,
        made_rolls: type[Rolls] = Rolls,
        **more: Any,
    ) -> None:
        self.new, self.made_rolls = new, made_rolls
        self.switches = {"IT": Switch(today, new, due)}
        usual: dict[str, Any] = {"horizon": Horizon.CARRY, "at": ROLL_AT - timedelta(seconds=30)}
        super().__init__(**(usual | more))

    def _open(self, at: datetime, *, resumed: bool) -> None:
        today = self.switches["IT"].today or self.instrument
        self.run.instruments["IT"] = today
        if self.made_rolls is not Rolls:
            engine = self.engine
            engine.rolls = self.made_rolls(
                engine.rolls.settings, clock=self.clock, timers=engine.timers, store=self.store, desk=self.desk, portfolio=self.portfolio,
                targets=engine.targets, world=engine.world, alert=self._alert, engine=engine,
            )  # fmt: skip
        self.engine.open_day(at.date(), [self.run], {"IT": today}, resumed=resumed, switches=self.switches)

    def _instrument_of(self, key: str) -> Instrument:
        return NEXT if key == NEXT.key else self.instrument

    def both(self, price: float = 25000.0, seconds: float = 1.0, gap: float = GAP) -> None:
        """A tick of each contract."""
        self.tick(price, seconds)
        self.other(price + gap)

    def other(self, price: float) -> None:
        now = self.clock.now()
        assert self.new is not None
        self.engine.process(
            Tick(self.new, now, price, exchange_at=now, bid=price - 0.5, ask=price + 0.5, bid_quantity=6500, ask_quantity=6500)
        )
        self.engine.run_timers()
        self.engine.settle()

    def until(self, seconds: float, price: float = 25000.0) -> None:
        """Time goes on with both contracts quoted each second."""
        for _ in range(int(seconds)):
            self.both(price)

    def hold(self, target: float = 1, **more: Any) -> Self:
        """The strategy holds something, and both contracts are quoted."""
        self.both()
        self.want(target, **more)
        self.complete()
        return self

    def at_roll(self) -> Self:
        """It is 15:00, and the pair has begun."""
        self.go_on(ROLL_AT)
        self.until(2)
        return self

    def go_on(self, to: datetime) -> None:
        while self.clock.now() < to:
            self.both()

    def complete_one(self, order: Order) -> None:
        self.ack(order)
        self.working(order)
        self.fill(order=order, price=25000.0 if order.instrument.key == FUTURE.key else 25150.0)

    def in_new(self) -> int:
        return self.portfolio.position("told", NEXT)

    def kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.store.read_journal() if entry["kind"].startswith("roll")]

    @property
    def legs(self) -> list[Order]:
        return [order for order in self.executor.placed if order.purpose is Purpose.ROLL]


def rolled(harness: Rolling) -> None:
    """Both legs filled."""
    harness.complete()
    harness.both()
    harness.complete(25150.0)
    harness.both()


def test_a_position_rolls_as_one_pair_at_its_time() -> None:
    harness = Rolling().hold(stop=24500.0)
    harness.until(5)
    assert harness.legs == []  # before 15:00 nothing moves
    harness.at_roll()
    [closing] = harness.legs
    assert (closing.instrument, closing.side, closing.quantity) == (FUTURE, Side.SELL, 65)
    harness.until(2)
    assert len(harness.legs) == 1  # the second leg waits for the first
    harness.complete()
    harness.both()
    opening = harness.legs[-1]
    assert (opening.instrument, opening.side, opening.quantity) == (NEXT, Side.BUY, 65)
    harness.complete(25151.0)
    harness.until(30)
    assert (harness.held, harness.in_new(), len(harness.legs)) == (0, 65, 2)
    assert harness.kinds() == ["roll_started", "roll_closed", "roll_done"]
    done = harness.journal("roll_done")[0]
    assert (done["closed_at"], done["opened_at"], done["paid"], done["gap"]) == (25000.0, 25151.0, 151.0, 150.0)
    assert (done["quantity"], done["cost"]) == (65, 65.0), "bought a point dearer than the gap"
    assert (harness.target.instrument, harness.target.raw, harness.target.wanted, harness.target.stop) == (NEXT, 1, 65, 24650.0)
    assert harness.strategy.fills == [fill for fill in harness.store.fills() if fill.order_id not in {leg.id for leg in harness.legs}]


def test_a_short_position_rolls_the_other_way() -> None:
    harness = Rolling().hold(-2)
    rolled(harness.at_roll())
    assert [(leg.side, leg.quantity) for leg in harness.legs] == [(Side.BUY, 130), (Side.SELL, 130)]
    assert (harness.held, harness.in_new()) == (0, -130)
    done = harness.journal("roll_done")[0]
    assert (done["quantity"], done["cost"]) == (-130, (done["gap"] - done["paid"]) * 130)


def test_the_opening_leg_passes_the_entry_stop_and_an_entry_does_not() -> None:
    harness = Rolling().hold()
    harness.engine.world.windows = {"told": (None, DAY.replace(hour=14, minute=58))}  # no entries any more
    rolled(harness.at_roll())
    assert harness.in_new() == 65


def test_what_the_strategy_says_waits_and_is_done_on_the_new_contract() -> None:
    harness = Rolling().hold().at_roll()
    harness.want(0)
    assert len(harness.legs) == 1
    assert harness.journal("signal_waits")[0]["target"] == 0
    rolled(harness)
    assert harness.last.purpose is Purpose.EXIT  # only now, and of what is held now
    assert (harness.last.instrument, harness.last.side, harness.last.quantity) == (NEXT, Side.SELL, 65)
    harness.complete(25150.0)
    assert (harness.held, harness.in_new()) == (0, 0)


def test_after_the_roll_the_old_contracts_bars_move_the_new_position() -> None:
    harness = Rolling().hold()
    rolled(harness.at_roll())
    harness.want(1, stop=24600.0)
    assert harness.target.stop == 24750.0  # moved by the gap
    harness.want(-1)
    assert (harness.last.instrument, harness.last.side) == (NEXT, Side.SELL)
    assert all(order.instrument is not FUTURE for order in harness.executor.placed[3:])


def test_the_strategy_sees_the_same_position_before_during_and_after() -> None:
    harness = Rolling().hold()
    seen = harness.engine.rolls.seen
    counts = [seen.position("told", FUTURE)]
    harness.at_roll()
    counts.append(seen.position("told", FUTURE))
    harness.complete()
    counts.append(seen.position("told", FUTURE))
    harness.both()
    harness.complete(25150.0)
    harness.both()
    counts.append(seen.position("told", FUTURE))
    assert counts == [65, 65, 65, 65]


def test_working_orders_of_the_key_go_first() -> None:
    harness = Rolling(size=Size(lots=2)).hold()
    harness.go_on(ROLL_AT - timedelta(seconds=2))
    harness.want(2)
    harness.ack()
    harness.working()
    entry = harness.last
    harness.at_roll()
    assert [order.id for order in harness.executor.cancelled] == [entry.id]
    assert harness.legs == []
    harness.fill(65, order=entry)  # a fill that won the race
    harness.end(OrderState.CANCELLED, order=entry)
    harness.both()
    assert [(leg.side, leg.quantity) for leg in harness.legs] == [(Side.SELL, 195)]


@pytest.mark.parametrize("attempt", range(3))
def test_a_leg_that_does_not_fill_pays_no_more_than_the_cap_and_is_tried_again(attempt: int) -> None:
    harness = Rolling().hold().at_roll()
    for _ in range(attempt + 1):
        before = len(harness.legs)
        harness.ack()
        harness.working()
        leg = harness.last
        for _ in range(30):
            harness.both()
            while harness.executor.modified:
                order, price = harness.executor.modified.pop()
                assert price >= 25000.0 * (1 - 0.5 / 100) - 0.1
                harness.working(order, limit_price=price)
            if harness.executor.cancelled:
                harness.executor.cancelled.clear()
                harness.end(OrderState.CANCELLED, order=leg)
                break
        else:
            pytest.fail("it chased the price without end")
        harness.until(61)
        assert len(harness.legs) == before + 1
    assert harness.held == 65
    assert len(harness.journal("roll_try_failed")) == attempt + 1


def test_the_second_leg_refused_for_good_is_half_a_roll_and_somebody_is_paged() -> None:
    harness = Rolling().hold().at_roll()
    harness.complete()
    harness.engine.world.restricted = lambda instrument: "in the ban period" if instrument.key == NEXT.key else None
    harness.both()
    assert harness.told("Half a roll") == ["page"]
    harness.until(60)
    assert (harness.held, harness.in_new(), len(harness.legs)) == (0, 0, 1)
    assert harness.journal("roll_half")[0]["why"].startswith("refused by restricted")
    harness.want(1)
    assert len(harness.legs) == 1  # latched: the same wish again changes nothing
    assert harness.last.purpose is Purpose.ROLL


def test_the_second_leg_rejected_again_and_again_ends_after_its_tries() -> None:
    harness = Rolling().hold().at_roll()
    harness.complete()
    harness.both()
    for _ in range(400):
        if harness.last.instrument is NEXT and harness.last.state is OrderState.SENDING:
            harness.reply(Action.PLACE, Outcome.REJECT, "no")
        harness.both()
    assert len([leg for leg in harness.legs if leg.instrument is NEXT]) == harness.engine.rolls.settings.attempts
    assert harness.told("Half a roll") == ["page"]


def test_a_second_leg_partly_filled_is_kept_as_it_is() -> None:
    harness = Rolling(size=Size(lots=2)).hold().at_roll()
    harness.complete()
    harness.both()
    for attempt in range(6):
        harness.ack()
        harness.working()
        if attempt == 0:
            harness.fill(65, 25150.0)
        harness.end(OrderState.CANCELLED, "the exchange")
        harness.until(61)
    assert harness.told("Half a roll") == ["page"]
    assert (harness.in_new(), harness.target.wanted, harness.target.latched) == (65, 65, True)
    assert [leg.quantity for leg in harness.legs if leg.instrument is NEXT] == [130, 65, 65, 65, 65, 65]


def test_a_closing_leg_that_does_not_get_through_is_told_and_kept_on_with() -> None:
    harness = Rolling().hold().at_roll()
    for _ in range(8):
        harness.reply(Action.PLACE, Outcome.REJECT, "no")
        harness.until(61)
    assert harness.told("Roll does not get through") == ["warn", "page"]
    assert len(harness.legs) == 9
    rolled(harness)
    assert (harness.held, harness.in_new()) == (0, 65)


def test_an_order_of_unknown_fate_is_never_sent_again() -> None:
    harness = Rolling(kind=AccountKind.PRACTICE_LIVE).hold().at_roll()
    harness.reply(Action.PLACE, Outcome.UNKNOWN, "timeout")
    harness.until(30)
    assert len(harness.legs) == 1
    harness.fill(order=harness.legs[0])
    harness.both()
    assert [leg.instrument for leg in harness.legs] == [FUTURE, NEXT]


@pytest.mark.parametrize("step", ["closing", "opening"])
def test_a_kill_in_the_middle_outranks_the_roll(step: str) -> None:
    harness = Rolling().hold().at_roll()
    if step == "opening":
        harness.complete()
        harness.both()
    leg = harness.last
    harness.ack()
    harness.working()
    harness.engine.set_state(TradingState.HALTED, "kill")
    harness.engine.square_off.now_all("kill", harness.clock.now())
    harness.both()
    if step == "opening":
        assert [order.id for order in harness.executor.cancelled] == [leg.id]
        harness.end(OrderState.CANCELLED, order=leg)
    else:
        harness.fill(order=leg)
    harness.until(20)
    assert (harness.held, harness.in_new()) == (0, 0)
    assert len([order for order in harness.executor.placed if order.instrument is NEXT]) == (step == "opening")
    assert "roll_overtaken" in harness.kinds()
    harness.want(1)
    assert len(harness.executor.placed) == (3 if step == "opening" else 2)


def test_what_others_closed_is_not_opened_again() -> None:
    harness = Rolling(size=Size(lots=2)).hold().at_roll()
    harness.ack()
    harness.working()
    foreign = harness.row(harness.last, OrderState.FILLED, 65, 25000.0)
    trade = msgspec.structs.replace(foreign, broker_order_id="F1", tag=None, quantity=65)
    sold = Trade("F", "F1", FUTURE, Side.SELL, 65, 25000.0, harness.clock.now())
    harness.engine.process(msgspec.structs.replace(trade, trades=(sold,)))
    harness.engine.settle()
    [closing] = harness.legs
    assert [order.id for order in harness.executor.cancelled] == [closing.id]  # the rest of it would open the other side
    harness.end(OrderState.CANCELLED, order=closing)
    harness.both()
    harness.complete()
    harness.both()
    assert (harness.last.instrument, harness.last.quantity) == (NEXT, 65)
    assert "page" in harness.told("Closed from outside")


@pytest.mark.parametrize(
    ("blocked", "why"),
    [
        ("paused", "trading is REDUCE_ONLY"),
        ("banned", "in the ban period"),
        ("blind", "books"),
        ("stale", "no fresh price of NFO:NIFTY26DECFUT"),
    ],
)
def test_it_does_not_begin_what_it_could_not_end(blocked: str, why: str) -> None:
    harness = Rolling().hold()
    world = harness.engine.world
    if blocked == "paused":
        harness.engine.set_state(TradingState.REDUCE_ONLY, "pause")
    elif blocked == "banned":
        world.restricted = lambda instrument: why if instrument.key == NEXT.key else None
    elif blocked == "blind":
        world.blinded["books"] = why
    harness.go_on(ROLL_AT - timedelta(seconds=10))
    for _ in range(630):
        harness.tick(25000.0, 1) if blocked == "stale" else harness.both()
    assert harness.legs == []
    assert harness.journal("roll_waits")[0]["why"] == why
    assert harness.told("Roll waits") == ["page"]
    harness.engine.set_state(TradingState.ACTIVE, "resume")
    world.restricted = lambda instrument: None
    world.blinded.clear()
    harness.both()
    harness.both()
    rolled(harness)
    assert (harness.held, harness.in_new()) == (0, 65)


def test_no_next_contract_keeps_the_position_and_tells() -> None:
    harness = Rolling(new=None)
    harness.tick(25000.0, 1)
    harness.want(1)
    harness.complete()
    for _ in range(60):
        harness.tick(25000.0, 1)
    assert (harness.legs, harness.held) == ([], 65)
    after = harness.restarted(new=None)
    assert after.told("Cannot roll") == ["page"]
    assert (after.held, after.legs) == (65, [])


def test_another_lot_keeps_the_notional_and_journals_the_residual() -> None:
    small = msgspec.structs.replace(NEXT, lot=75, freeze=1800)
    harness = Rolling(new=small, size=Size(lots=10)).hold().at_roll()
    harness.complete()
    harness.both()
    assert harness.last.quantity == 675  # 650 units in lots of 75: nine, not eight
    started = harness.journal("roll_started")[0]
    assert (started["quantity"], started["to_quantity"], started["residual"]) == (650, 675, -25)


def test_nothing_held_only_switches_and_a_latch_goes_over() -> None:
    harness = Rolling().hold(stop=24900.0)
    harness.both(24890.0)
    harness.complete(24890.0)
    assert harness.held == 0
    harness.at_roll()
    assert harness.kinds() == ["roll_switched"]
    harness.want(1)
    assert len(harness.executor.placed) == 2  # stopped out: the same wish does not come back through the new contract
    harness.want(0)
    harness.want(1)
    assert (harness.last.instrument, harness.last.purpose) == (NEXT, Purpose.ENTRY)


def test_an_intraday_position_does_not_roll() -> None:
    harness = Rolling(horizon=Horizon.INTRADAY).hold().at_roll()
    harness.until(10)
    assert (harness.legs, harness.held) == ([], 65)


# --- kill -9 ----------------------------------------------------------------------------------------------------------------------------


def crash(harness: Rolling) -> Rolling:
    """The next process: nothing but what was committed, and the broker's books not read yet."""
    after = harness.restarted(size=None)
    after.both(seconds=0)
    return after


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_step_it_goes_on_and_never_doubles(moment: int) -> None:
    harness = Rolling().hold()
    broker = {FUTURE.key: 65, NEXT.key: 0}
    placed: list[Order] = []
    step = 0

    def maybe_crash() -> None:
        nonlocal harness, step
        if step == moment:
            placed.extend(harness.legs)
            harness = harness.restarted()
            harness.tick(25000.0)
            harness.other(25150.0)
            rows = [harness.row(order, OrderState.WORKING, 0) for order in harness.desk.live() if order.broker_order_id or order.id in sent]
            earlier = [order for order in harness.desk.all() if order.state is OrderState.FILLED and order.id not in {o.id for o in filled}]
            known = [order for order in filled if harness.desk.get(order.id) is not None]
            rows += [harness.row(order, OrderState.FILLED, 65, 25000.0) for order in (*earlier, *known)]
            books(harness, rows, broker)
            harness.until(4)
        step += 1

    sent: set[str] = set()
    filled: list[Order] = []
    harness.at_roll()
    maybe_crash()  # 0: sent, the answer not yet in
    for instrument, sign in ((FUTURE, -1), (NEXT, 1)):
        for _ in range(200):
            if any(order.instrument.key == instrument.key for order in (*placed, *harness.legs)):
                break
            harness.both()
        leg = next(order for order in (*placed, *harness.legs) if order.instrument.key == instrument.key)
        sent.add(leg.id)
        harness.ack(leg)
        maybe_crash()  # acknowledged
        harness.working(leg)
        maybe_crash()  # working
        broker[instrument.key] += sign * 65
        filled.append(leg)
        harness.fill(order=leg, price=25000.0 if sign < 0 else 25150.0)
        sent.discard(leg.id)
        maybe_crash()  # filled
        harness.both()
        maybe_crash()
    harness.until(30)
    everything = {order.id: order for order in (*placed, *harness.legs)}
    assert sorted((order.instrument.symbol, order.quantity) for order in everything.values()) == [
        ("NIFTY26DECFUT", 65),
        ("NIFTY26NOVFUT", 65),
    ]
    assert (harness.held, harness.in_new()) == (0, 65)
    assert harness.kinds().count("roll_done") == 1


def books(harness: Rolling, rows: list[Any], net: dict[str, int]) -> None:
    now = harness.clock.now()
    held = tuple(
        BrokerPosition(one, "MIS", net[one.key], 25000.0) for one in (FUTURE, NEXT) if net[one.key] or harness.portfolio.net(one, "MIS")
    )
    harness.engine.process(Books(now, now, tuple(rows), (), held))
    harness.engine.settle()


# --- the morning after ------------------------------------------------------------------------------------------------------------------

MONDAY = DAY.replace(day=23, hour=9, minute=20)


def monday(harness: Rolling, today: Instrument | None = NEXT) -> Rolling:
    after = Rolling(at=MONDAY, store=harness.store.crashed(), today=today, due=None, instrument=FUTURE, resumed=True)
    after.books(net=None)
    books(after, [], {FUTURE.key: after.held, NEXT.key: after.in_new()})
    return after


def test_a_roll_that_was_missed_is_made_up_for_and_told() -> None:
    after = monday(Rolling().hold())
    assert after.told("Late roll") == ["warn"]
    after.both()
    after.both()
    rolled(after)
    assert (after.held, after.in_new()) == (0, 65)


def test_a_pair_that_was_open_in_the_evening_goes_on_and_was_told() -> None:
    harness = Rolling().hold().at_roll()
    harness.reply(Action.PLACE, Outcome.REJECT, "no")
    harness.engine.close_day(DAY.date())
    assert harness.told("Not rolled") == ["page"]
    after = monday(harness)
    after.both()
    after.both()
    rolled(after)
    assert (after.held, after.in_new()) == (0, 65)


def test_a_rolled_position_is_not_rolled_back_or_again() -> None:
    harness = Rolling().hold()
    rolled(harness.at_roll())
    same_day = harness.restarted()
    same_day.until(5)
    assert (same_day.legs, same_day.in_new()) == ([], 65)
    after = monday(harness)
    after.until(10)
    assert (after.legs, after.in_new()) == ([], 65)
    assert after.told("Late roll") == []


def test_a_wish_that_nothing_came_of_ends_with_its_contract() -> None:
    harness = Rolling()
    harness.both()
    harness.engine.world.blinded["books"] = "no"
    harness.want(1)
    assert harness.target.pending
    after = monday(harness)
    assert after.engine.targets.get("told", "IT") is None
    assert after.journal("target_dropped")[0]["instrument"] == FUTURE.key


def test_a_name_that_means_another_contract_never_orphans_what_was_held() -> None:
    """Not a future's: an option's name means another strike tomorrow."""
    other = msgspec.structs.replace(NEXT, kind=Kind.CALL, strike=25000.0, key="NFO:NIFTY26NOV25000CE", expiry=FUTURE.expiry)
    harness = Rolling(due=None).hold()
    harness.run.instruments["IT"] = other
    harness.new = other
    harness.other(200.0)
    harness.strategy.at = harness.clock.now()
    harness.engine.take_signal(harness.run, harness.strategy.signal(other, 1))
    sold, bought = harness.executor.placed[-2:]
    assert (sold.instrument, sold.side, sold.purpose) == (FUTURE, Side.SELL, Purpose.EXIT)
    assert (bought.instrument.key, bought.side) == (other.key, Side.BUY)


def test_an_exit_decided_at_the_last_bar_rests_overnight_and_goes_when_the_market_opens() -> None:
    harness = Rolling(due=None).hold()
    harness.clock.move_to(DAY.replace(hour=15, minute=40, second=2))  # the last bar closes two seconds after the market
    harness.want(0)
    harness.pass_time(60)
    harness.engine.close_day(DAY.date())
    harness.pass_time(4 * 3600)
    assert len(harness.executor.placed) == 1
    after = Rolling(at=MONDAY.replace(hour=9, minute=0), store=harness.store.crashed(), today=FUTURE, due=None, resumed=True)
    books(after, [], {FUTURE.key: 65, NEXT.key: 0})
    after.tick(25000.0, 60)
    assert after.executor.placed == []
    after.pass_time(14 * 60)
    after.tick(25000.0)
    after.pass_time(3)
    assert [(order.side, order.quantity) for order in after.executor.placed] == [(Side.SELL, 65)]


def test_a_thousand_failed_exits_still_wait_half_a_minute() -> None:
    harness = Rolling(due=None).hold()
    for _ in range(1100):
        harness.engine.exits.retry(harness.target, "no")
    due = harness.engine.timers.due("retry|told|IT")
    assert due is not None
    assert (due - harness.clock.now()).total_seconds() == 30.0


def test_nothing_begins_before_its_time_whoever_looks() -> None:
    harness = Rolling().hold()
    harness.engine.rolls.look(harness.clock.now())
    assert harness.legs == []


def test_a_stop_in_the_middle_latches_and_the_same_wish_does_not_come_back() -> None:
    harness = Rolling().hold().at_roll()
    harness.complete()
    harness.both()
    harness.complete(25150.0)
    harness.engine.flatten(harness.target, "stop", Purpose.EXIT)  # between the last fill and the end of the pair
    harness.complete(25140.0)
    harness.until(5)
    assert (harness.held, harness.in_new()) == (0, 0)
    count = len(harness.executor.placed)
    harness.want(1)
    assert len(harness.executor.placed) == count
    harness.want(0)
    harness.want(1)
    assert (harness.last.instrument, harness.last.purpose) == (NEXT, Purpose.ENTRY)


def test_what_is_held_in_the_new_contract_under_another_name_is_not_mixed_in() -> None:
    harness = Rolling().hold()
    order = msgspec.structs.replace(harness.last, id="O", tag="O", name="NIFTY_FUT_NEXT", instrument=NEXT)
    harness.portfolio.book(order, Trade("N", "BO", NEXT, Side.BUY, 65, 25150.0, harness.clock.now()))
    harness.at_roll()
    harness.until(5)
    assert harness.legs == []
    assert harness.journal("roll_waits")[0]["why"] == "told already holds NFO:NIFTY26DECFUT"


# --- planted bugs: the watch finds each ------------------------------------------------------------------------------------------------


class Doubles(Rolls):
    """Opens without waiting for the close."""

    def _begin(self, roll: Roll, now: datetime) -> None:
        super()._begin(roll, now)
        if roll.step == CLOSING:
            self._engine.act(Target("told", "other", roll.new, 1, roll.quantity, Horizon.CARRY, now, purpose=Purpose.ROLL))


class Halves(Rolls):
    """Takes the closed position for the end of the roll."""

    def _close(self, roll: Roll, now: datetime) -> None:
        if self._held(roll.old, roll) == 0:
            self._finish(roll, DONE, "roll_done", {})
        else:
            super()._close(roll, now)


class Hurries(Rolls):
    """Takes every day for the roll day."""

    def open_day(self, day: date, switches: Any) -> None:
        soon = self._clock.now() + timedelta(seconds=10)
        super().open_day(day, {name: msgspec.structs.replace(one, due=soon) for name, one in switches.items()})


def watched(made_rolls: type[Rolls]) -> set[str]:
    """What is wrong with a roll whose orders all fill a second after they are sent."""
    found: set[str] = set()
    harness = Rolling(made_rolls=made_rolls).hold()
    while harness.clock.now() < ROLL_AT + timedelta(seconds=30):
        harness.both()
        pending = [order for order in harness.desk.live() if order.state is OrderState.SENDING]
        coming = sum(order.side.sign * order.quantity for order in pending if order.side is Side.BUY)
        if harness.held + harness.in_new() + coming > 65:
            found.add("doubled")
        if harness.legs and harness.clock.now() < ROLL_AT:
            found.add("too early")
        for order in pending:
            harness.complete_one(order)
    if harness.held + harness.in_new() != 65 and harness.told("Half a roll") == []:
        found.add("lost, and nobody was told")
    return found


@pytest.mark.parametrize(
    ("planted", "problems"),
    [(Rolls, set()), (Doubles, {"doubled"}), (Halves, {"lost, and nobody was told"}), (Hurries, {"too early"})],
)
def test_the_watch_finds_planted_bugs(planted: type[Rolls], problems: set[str]) -> None:
    assert problems <= watched(planted)
    assert problems or not watched(planted)
