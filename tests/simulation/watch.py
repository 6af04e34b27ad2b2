"""The invariants I1-I10, looked at throughout a simulated day, against what truly happened at the exchange.

I1 at most one broker order for each tag        I2 ledger net = broker net within 20 s of connectivity
I3 fills = filled <= quantity, at its worth     I4 no entry while stale, unknown, frozen, halted or different
I5 flat by the page's time, or paged            I6 an exit never turns a position round, nor closes what is not ours
I7 no end of an order without evidence          I8 what the ledger holds is what was in memory
I9 no cap is exceeded                           I10 each schedule fires once
STOPS with stops at the broker, a position has its stop there, for no more and no less than is held, and nothing of it stays when flat
and: after the faults are over everything agrees within 60 s; nothing crashes.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Protocol

from core.events import Books, Outcome, Reply
from core.ports import Ledger
from core.types import Horizon, Order, OrderState, Purpose, SessionState, TradingState
from execution_engine.buy_sell_logic import Target, protection_hit
from execution_engine.order_state import TERMINAL
from execution_engine.portfolio import EXTERNAL
from execution_engine.protection import MOVING
from runtime.wiring import House
from simulators.orders import TERMINAL as ENDED
from simulators.orders import SimOrder, SimTrade, Status
from tests.simulation.faults import Plan
from tests.simulation.market import clock
from tests.simulation.venue import Venue
from tests.simulation.virtual import VirtualClock

CALM_S = 40.0  # and the time within which ledger and broker agree
STOPS_S = 20.0  # within which the stops at the broker are in step with what is held
APART, APART_S = 2, 10.0  # reads, and seconds, after which what differs is frozen
ROUNDED = 0.0051  # rupees of each unit: a broker tells averages to the paisa
UNSEEN = frozenset({OrderState.SENDING, OrderState.UNKNOWN, OrderState.PENDING_NEW})  # they may explain a difference
SKEW = timedelta(seconds=1)
SAME = {
    OrderState.FILLED: Status.COMPLETE,
    OrderState.CANCELLED: Status.CANCELLED,
    OrderState.EXPIRED: Status.CANCELLED,  # what the session's end took: the exchange has one word for both, ICICI's book two
    OrderState.REJECTED: Status.REJECTED,
}


class Enough(BaseException):
    """What was looked for has been seen."""


class Told(Protocol):
    told: list[tuple[str, str, str]]


class Spy:
    """The executor with a look at each order that is handed to it."""

    def __init__(self, executor: Any, watch: "Watch") -> None:
        self._executor = executor
        self._watch = watch

    def place(self, order: Order) -> None:
        self._watch.submitted(order)
        self._executor.place(order)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


class Watch:
    """Sees the daemon after each of its batches, and the exchange at each booking and trade."""

    def __init__(self, clock: VirtualClock, venue: Venue, plan: Plan, notifier: Told) -> None:
        self.violations: list[str] = []
        self.calls: list[datetime] = []
        self.enough = ""  # the invariant whose first violation ends the day
        self.restless = False  # something does not agree yet: look each second
        self._clock = clock
        self._venue = venue
        self._plan = plan
        self._notifier = notifier
        self._house: House | None = None
        self._began = self._looked = clock.true
        self._healthy_since: datetime | None = None
        self._differs_since: dict[tuple[str, str], datetime] = {}
        self._unsettled_since: datetime | None = None
        self._submitted: dict[str, Order] = {}
        self._by_tag: Counter[str] = Counter()
        self._ours: Counter[tuple[str, str]] = Counter()
        self._horizons: dict[str, Horizon] = {}
        self._moved_at: dict[tuple[str, str], datetime] = {}
        self._foreign_at: dict[str, datetime] = {}
        self._refused: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._checked: dict[str, Order] = {}
        self._said: set[str] = set()
        self._stops: dict[str, SimOrder] = {}  # stops of ours that may stand at the broker
        self._uncovered: dict[tuple[str, str], datetime] = {}  # since when the stops of a key are out of step
        self._shown: Books | None = None  # the last complete read that was handed to the engine, until it is looked at
        self._apart: dict[tuple[str, str], tuple[datetime, int]] = {}  # what reads show otherwise than the ledger: since when, how often
        venue.placed = self._placed
        venue.traded = self._traded

    def violation(self, invariant: str, text: str) -> None:
        if (invariant, text) not in self._seen and len(self.violations) < 20:
            self._seen.add((invariant, text))
            self.violations.append(f"{invariant}: {self._clock.true:%H:%M:%S.%f}: {text}")
            if invariant == self.enough:
                raise Enough

    # --- the process ------------------------------------------------------------------------------------------------------------------

    def begin(self, house: House) -> None:
        self._house = house
        self._began = self._clock.true
        self._healthy_since = None
        self._checked.clear()
        desk = house.engine.desk
        desk._executor = Spy(desk._executor, self)
        house.engine._record = self._hear

    def end(self, why: str) -> None:
        self._house = None
        self.restless = False
        self._healthy_since = None
        self._differs_since.clear()
        self._uncovered.clear()
        self._shown = None
        self._apart.clear()
        self._unsettled_since = None

    def _hear(self, event: Any) -> None:
        if isinstance(event, Reply) and event.outcome is Outcome.REJECT:
            self._refused.add(event.order_id)
        if isinstance(event, Books) and event.positions is not None:
            self._shown = event

    # --- orders on their way ------------------------------------------------------------------------------------------------------------

    def submitted(self, order: Order) -> None:
        """An order leaves the engine (I4, I6, I9, P1)."""
        assert self._house is not None
        self._submitted[order.tag] = order
        self._horizons[order.strategy] = order.horizon
        engine = self._house.engine
        world, desk = engine.world, engine.desk
        held = engine.portfolio.position(order.strategy, order.instrument)
        if order.strategy == EXTERNAL:
            self.violation("I6", f"{order.side} {order.quantity} {order.instrument.key} closes what is not ours")
        if order.purpose is Purpose.ENTRY:
            if self._house.store.waiting:
                self.violation("P1", f"{order.tag} leaves before its intent is on disk")
            if world.state is not TradingState.ACTIVE or world.session is SessionState.LOGIN_REQUIRED:
                self.violation("I4", f"an entry while {world.state}, {world.session}")
            why = world.blind or world.frozen(order.instrument) or world.feed_stale
            if why:
                self.violation("I4", f"an entry in {order.instrument.key} while {why}")
            ticked = self._venue.ticked.get(order.instrument.key)
            age = (self._clock.true - ticked).total_seconds() if ticked is not None else 9999.0
            if age > engine.gate.settings.stale_after + 1:
                self.violation("I4", f"an entry in {order.instrument.key} whose last good tick is {age:.1f} s old")
            key = (order.strategy, order.name)
            if any(o.state is OrderState.UNKNOWN for o in desk.live() if (o.strategy, o.name) == key and o.id != order.id):
                self.violation("I4", f"an entry beside an order of unknown fate of {key}")
            self._caps(order)
        else:
            closing = sum(
                o.remaining for o in desk.live()
                if (o.strategy, o.instrument.key) == (order.strategy, order.instrument.key) and o.purpose is not Purpose.ENTRY
            )  # fmt: skip
            if held * order.side.sign >= 0 or closing > abs(held):
                self.violation("I6", f"{order.side} {closing} may turn a position of {held} {order.instrument.key} round")

    def _caps(self, order: Order) -> None:
        assert self._house is not None
        engine = self._house.engine
        caps, desk = engine.gate.settings, engine.desk
        price = order.limit_price
        if order.quantity * price > caps.max_order_value * 1.000001 or order.quantity > caps.max_order_quantity:
            self.violation("I9", f"one order of {order.quantity} at {price}")
        working = [o for o in desk.live() if o.purpose is Purpose.ENTRY]
        value = {p.instrument.key: 0.0 for p in engine.portfolio.positions()}
        by_strategy: Counter[str] = Counter()
        for position in engine.portfolio.positions():
            last = engine.world.last_price(position.instrument) or position.average_price
            by_strategy[position.strategy] += int(abs(position.quantity) * last)
            value[position.instrument.key] += abs(position.quantity) * last
        for one in working:
            by_strategy[one.strategy] += int(one.remaining * one.limit_price)
        gross = sum(value.values()) + sum(one.remaining * one.limit_price for one in working)
        if by_strategy[order.strategy] > caps.max_strategy_exposure * 1.01 or gross > caps.max_gross_exposure * 1.01:
            self.violation("I9", f"exposure {by_strategy[order.strategy]} of {order.strategy}, {gross:.0f} gross")
        now = engine.clock.now()
        if sum(1 for at in desk.sent if (now - at).total_seconds() < 1.0) > caps.orders_per_second:
            self.violation("I9", "more order calls within one second than the cap")

    def _placed(self, booked: SimOrder) -> None:
        """An order with a tag of ours is booked at the broker (I1)."""
        tag = booked.tag or ""
        self._by_tag[tag] += 1
        if self._by_tag[tag] > 1:
            self.violation("I1", f"{tag} is booked {self._by_tag[tag]} times")
        if tag not in self._submitted:
            self.violation("I1", f"{tag} was never submitted")
        elif self._submitted[tag].purpose is Purpose.PROTECT:
            self._stops[booked.id] = booked

    def _traded(self, booked: SimOrder, trade: SimTrade) -> None:
        """Something fills (I6). Whoever else trades on the account closes ours first."""
        self._moved_at[trade.key, self._venue.broker.product(trade.product)] = self._clock.true
        sign = 1 if trade.side == "BUY" else -1
        if booked.tag is None:
            self._foreign_at[trade.key] = self._clock.true
            return
        order = self._submitted[booked.tag]
        key = (order.strategy, trade.key)
        before = self._ours[key]
        after = self._ours[key] = before + sign * trade.quantity
        grew = before * after < 0 or abs(after) > abs(before)
        if order.purpose not in (Purpose.ENTRY, Purpose.ROLL) and grew and trade.key not in self._foreign_at:
            self.violation("I6", f"{order.purpose} {booked.tag} of {order.strategy} turned {before} {trade.key} into {after}")

    # --- after each batch -----------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """The daemon has finished a batch."""
        house = self._house
        if house is None:
            return
        engine, now = house.engine, self._clock.true
        if engine.timers.due("second") is None or (now - self._looked).total_seconds() < 0.5:
            return  # the day is not open, or it was looked at just now
        slept, self._looked = self._clock.stopped_until > self._looked, now
        healthy = not self._plan.blind(now) and engine.world.session is not SessionState.LOGIN_REQUIRED and now >= self._clock.stopped_until
        if not healthy:
            self._healthy_since = None
        elif self._healthy_since is None or slept:
            self._healthy_since = now  # who slept could read nothing either
        self._compare(house, now)
        self._agree(house, now)
        self._orders(house)
        self._flat(house, now)
        self._guarded(house, now)
        self._rate(now)

    def _compare(self, house: House, now: datetime) -> None:
        """I4: what the positions that the engine read show otherwise than the ledger, while nothing of ours moves, is frozen."""
        shown, self._shown = self._shown, None
        if shown is None or shown.positions is None:
            return
        desk, portfolio, world = house.engine.desk, house.engine.portfolio, house.engine.world
        moving = {o.instrument.key for o in desk.all() if o.state in UNSEEN or o.updated_at >= shown.asked_at}
        theirs = {(row.instrument.key, row.product): row.quantity for row in shown.positions}
        instruments = {row.instrument.key: row.instrument for row in shown.positions}
        instruments |= {held.instrument.key: held.instrument for held in portfolio.positions()}
        for key in {*theirs, *self._apart, *((held.instrument.key, held.product) for held in portfolio.positions())}:
            instrument = instruments.get(key[0])
            if (
                instrument is None
                or portfolio.net(instrument, key[1]) == theirs.get(key, 0)
                or key[0] in moving
                or self._foreign_at.get(key[0], self._began) >= shown.asked_at
            ):
                self._apart.pop(key, None)
            else:
                since, reads = self._apart.get(key, (now, 0))
                self._apart[key] = since, reads + 1
                if reads >= APART and (now - since).total_seconds() > APART_S and not (world.frozen(instrument) or world.blind):
                    what = f"{theirs.get(key, 0)} of {key} was shown {reads + 1} times since {since:%H:%M:%S}"
                    self.violation("I4", f"{what}, the ledger has {portfolio.net(instrument, key[1])}, and entries in it are on")

    def _agree(self, house: House, now: datetime) -> None:
        """I2, and the liveness of everything once the faults are over."""
        truth = self._venue.net()
        ledger: Counter[tuple[str, str]] = Counter()
        for (_, held, product), holding in house.engine.portfolio._holdings.items():
            if holding.life.quantity:
                ledger[held, product] += holding.life.quantity
        for key in {*truth, *ledger, *self._differs_since}:
            if truth.get(key, 0) == ledger.get(key, 0):
                self._differs_since.pop(key, None)
                continue
            since = max(self._differs_since.setdefault(key, now), self._moved_at.get(key, self._began))
            if self._healthy_since is not None and (now - max(since, self._healthy_since)).total_seconds() > self._venue.broker.agree_s:
                self.violation("I2", f"{key}: the ledger holds {ledger.get(key, 0)}, the broker {truth.get(key, 0)} since {since:%H:%M:%S}")
        world, desk = house.engine.world, house.engine.desk
        unknown = [o for o in desk.unknown() if self._by_tag[o.tag]]
        unsettled = bool(self._differs_since or unknown or world.blinded or world.frozen_by_books)
        self.restless = unsettled or bool(desk.unbooked())
        if not unsettled or now < self._plan.over:
            self._unsettled_since = None
            return
        since = self._unsettled_since = self._unsettled_since or now
        late = (now - max(since, self._plan.over, self._healthy_since or now)).total_seconds()
        if late > CALM_S + self._venue.broker.agree_s:
            what = f"differences {list(self._differs_since)}, unknown {[o.tag for o in unknown]}, "
            what += f"blind {dict(world.blinded)}, frozen {dict(world.frozen_by_books)}"
            self.violation("LIVENESS", f"{late:.0f} s after the faults: {what}")

    def _orders(self, house: House) -> None:
        """I3 and I7, for each order that changed."""
        engine = house.engine
        desk, portfolio = engine.desk, engine.portfolio
        for order in desk._orders.values():
            if self._checked.get(order.id) is order:
                continue
            booked = portfolio.booked(order.id)
            if booked > order.filled or order.filled > order.quantity:
                self.violation("I3", f"{order.tag}: {booked} booked, {order.filled} filled of {order.quantity}")
            if order.state in TERMINAL:
                if booked == order.filled:
                    self._checked[order.id] = order
                self._evidence(order)

    def _evidence(self, order: Order) -> None:
        """I7: an order has ended in our books; did it?"""
        booked = next((one for one in self._venue.account.orders.values() if one.tag == order.tag), None)
        if booked is None:
            never = order.state is OrderState.NOT_FOUND or (
                order.broker_order_id is None
                and (order.id in self._refused or order.reason.startswith(("never sent", "the process ended before")))
            )
            if not never and order.state is not OrderState.REJECTED:
                self.violation("I7", f"{order.tag} is {order.state}, the broker never had it")
            elif not never and order.id not in self._refused and "refus" not in order.reason and not order.reason:
                self.violation("I7", f"{order.tag} is {order.state} on nobody's word")
            return
        if order.state is OrderState.NOT_FOUND:
            self.violation("I7", f"{order.tag} is NOT_FOUND, the broker has it as {booked.status}")
        elif booked.status not in ENDED or SAME.get(order.state) is not booked.status:
            self.violation("I7", f"{order.tag} is {order.state}, the broker has it as {booked.status}")
        elif order.filled > booked.filled:
            self.violation("I3", f"{order.tag}: {order.filled} filled in the ledger, {booked.filled} at the broker")

    def _flat(self, house: House, now: datetime) -> None:
        """I5: two seconds after the page's time everything intraday of ours is flat, or a person was told."""
        engine = house.engine
        pages = [(key, at) for this in engine.square_off._rounds.values() for key, at in this.page_at.items()]
        for key, page_at in pages:
            due, name = page_at + timedelta(seconds=5), f"{page_at:%H:%M} {key}"
            if name in self._said or engine.clock.now() < due or (now - self._began).total_seconds() < 15:
                continue
            self._said.add(name)
            held = [
                p for p in engine.portfolio.positions()
                if p.quantity and p.strategy != EXTERNAL and p.horizon is Horizon.INTRADAY and p.instrument.key == key
            ]  # fmt: skip
            alive = [o for o in engine.desk.live() if o.instrument.key == key and o.horizon is Horizon.INTRADAY]
            truly = {
                mine: left for mine, left in self._ours.items()
                if left and mine[1] == key and key not in self._foreign_at and self._horizons[mine[0]] is Horizon.INTRADAY
            }  # fmt: skip
            if (held or alive or truly) and not any(title == "Not flat" and key in text for _, title, text in self._notifier.told):
                self.violation("I5", f"{name}: held {[p.quantity for p in held]}, alive {len(alive)}, truly {truly}, nobody paged")

    def _guarded(self, house: House, now: datetime) -> None:
        """STOPS, by what truly stands at the exchange."""
        engine = house.engine
        if engine.protection.settings is None:
            return
        self._stops = {number: booked for number, booked in self._stops.items() if booked.live}
        self._triggers()
        stands: Counter[tuple[str, str]] = Counter()
        for booked in self._stops.values():
            stands[self._submitted[booked.tag or ""].strategy, booked.listing.key] += booked.pending
        wrong: dict[tuple[str, str], str] = {}
        for target in engine.targets:
            key = target.strategy, target.instrument.key
            held, stop = abs(self._ours[key]), stands.pop(key, 0)
            if self._excused(house, target):
                continue
            if stop > held:
                wrong[key] = f"{held} held, stops for {stop}"
            elif stop < self._to_guard(house, target, held):
                wrong[key] = f"{held} held, stops for {stop} alone"
        wrong |= {key: f"nobody's key, stops for {stop}" for key, stop in stands.items() if self._healthy_since is not None}
        self._uncovered = {key: self._uncovered.get(key, now) for key in wrong}
        for key, since in self._uncovered.items():
            if (now - since).total_seconds() > STOPS_S:
                self.violation("STOPS", f"{key} since {since:%H:%M:%S}: {wrong[key]}")

    def _triggers(self) -> None:
        """STOPS over the night: one trigger at most, for no more than is held (one strategy carries on these days)."""
        standing = [guard for guard in self._venue.guards.values() if guard.active]
        if len(standing) > 1:
            self.violation("STOPS", f"{len(standing)} triggers stand")
        for guard in standing:
            carries = [name for name, horizon in self._horizons.items() if horizon is Horizon.CARRY]
            held = sum(self._ours[name, guard.instrument.key] for name in carries)  # what others closed of the day's trades is not in it
            if held * guard.side.sign >= 0 or guard.quantity > abs(held):
                self.violation("STOPS", f"{held} {guard.instrument.key} held, a trigger for {guard.side} {guard.quantity}")

    def _excused(self, house: House, target: Target) -> bool:
        """Whether nobody can be expected to have this key's stops in step now."""
        engine, instrument = house.engine, target.instrument
        under_way = any(
            (one.strategy, one.instrument.key) == (target.strategy, instrument.key)
            and (one.state in MOVING or one.purpose is not Purpose.PROTECT or one.filled or one.state is OrderState.WORKING)
            for one in engine.desk.live()
        )
        apart = self._ours[target.strategy, instrument.key] != engine.portfolio.position(target.strategy, instrument)
        shut = not engine.world.calendar.is_open(instrument, engine.clock.now()) or bool(engine.world.blinded) or apart
        return self._healthy_since is None or under_way or shut or bool(engine.world.frozen(instrument))

    def _to_guard(self, house: House, target: Target, held: int) -> int:
        """How much of what is held needs a stop; 0 where the engine wants none, is on its way out, or a person was told."""
        engine, signed = house.engine, self._ours[target.strategy, target.instrument.key]
        told = any(title == "No stop at the broker" and target.strategy in text for _, title, text in self._notifier.told)
        last = engine.world.last_price(target.instrument)
        if target.stop is None or target.closing or signed * target.wanted <= 0 or told or last is None:
            return 0
        return 0 if protection_hit(target, signed, last) else min(held, abs(target.wanted))

    def _rate(self, now: datetime) -> None:
        """I9: what the broker sees within one second."""
        most = self._venue.broker.per_second
        recent = [at for at in self.calls[-most - 1 :] if (now - at).total_seconds() < 1.0]
        if len(recent) > most:
            self.violation("I9", f"{len(recent)} order calls within one second on the wire")

    # --- at the end -----------------------------------------------------------------------------------------------------------------------

    def replay(self, journal: list[dict[str, Any]], ledger: Ledger) -> None:
        """I8: the journal tells the same story as the tables; its numbers have no gap."""
        if [entry["seq"] for entry in journal] != list(range(1, len(journal) + 1)):
            self.violation("I8", "the journal's numbers have a gap")
        last = {entry["order"]: entry for entry in journal if entry["kind"] in ("intent", "order")}
        booked: Counter[str] = Counter()
        net: Counter[tuple[str, str]] = Counter()
        for fill in ledger.fills():
            booked[fill.order_id] += fill.quantity
            net[fill.strategy, fill.instrument.key] += fill.side.sign * fill.quantity
        for order in ledger.orders():
            told = last.get(order.id, {"state": None, "filled": 0})
            if order.state in TERMINAL and (told["state"], told["filled"]) != (order.state, order.filled):
                self.violation(
                    "I8", f"{order.tag} is {order.state} {order.filled}, the journal's last word {told['state']} {told['filled']}"
                )
            if booked[order.id] > order.filled:
                self.violation("I3", f"{order.tag}: {booked[order.id]} in fills, {order.filled} filled")
        self._worth(ledger)
        for entry in journal:
            if entry["kind"] == "adopted":
                net[entry["strategy"], entry["instrument"]] += entry["quantity"]
        for position in ledger.positions():
            net[position.strategy, position.instrument.key] -= position.quantity
        if any(net.values()):
            self.violation("I8", f"fills and positions differ by { {key: by for key, by in net.items() if by} }")

    def _worth(self, ledger: Ledger) -> None:
        """I3: what was paid and received for each order is what the exchange made of it, to the rounding of averages."""
        worth: Counter[str] = Counter()
        units: Counter[str] = Counter()
        for fill in ledger.fills():
            worth[fill.order_id] += fill.quantity * fill.price  # type: ignore[assignment]  # a sum of rupees
            units[fill.order_id] += fill.quantity
        for booked in self._venue.account.orders.values():
            if booked.tag is not None and booked.filled and units[booked.tag] == booked.filled:
                true = booked.filled * booked.average_price
                if abs(worth[booked.tag] - true) > booked.filled * ROUNDED + 0.01:
                    self.violation("I3", f"{booked.tag} is booked at {worth[booked.tag]:.2f}, the exchange made {true:.2f} of it")

    def finish(self, journal: list[dict[str, Any]]) -> None:
        """I10, and the truth of the day's end."""
        started = Counter(entry["scheduled"] for entry in journal if entry["kind"] == "square_off_started")
        for scheduled, count in started.items():
            if count > 1:
                self.violation("I10", f"the square-off of {scheduled} started {count} times")
        fresh = [entry for entry in journal if entry["kind"] == "day_opened" and not entry["resumed"]]
        if len(fresh) != 1:
            self.violation("I10", f"the day was opened anew {len(fresh)} times")
        closed = [entry for entry in journal if entry["kind"] == "day_closed"]
        if len(closed) > 1:
            self.violation("I10", f"the day was closed {len(closed)} times")
        if not closed and self._clock.true < clock("15:50"):
            self.violation("I10", "the day was never closed")
