"""The end of a contract: stock contracts are left before they are settled in shares, the others are booked as SETTLED at their final price.

Rules:
1. Carried stock futures and options are flat from `time` of `days` trading days before their expiry: what is held then is flattened, again
   and again until it is gone; new carried positions are refused from then on (risk/entry_rules.py). Four trading days ahead, when margins
   begin to rise, whoever holds one is told. What is not ours is told and left alone.
2. What is still held when its contract has expired ends as a typed adjustment, never as a fill: a future at the underlying's close, an
   option at what it is worth there, a worthless one at 0. The buyer of an option that is worth something owes the exercise tax.
3. Where the final price is not known the position stays, is told each morning, and is booked when it is. The ledger has the price, where it
   came from and the status of that rule.
4. The broker's rows of an expired contract are no evidence against ours: it settles them when it does.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec

from core.market import Calendar
from core.ports import Clock, Store
from core.types import IST, Fill, Horizon, Instrument, Kind, Position, Purpose, Side
from execution_engine.buy_sell_logic import Target
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.targets import Targets
from execution_engine.timers import Timers
from execution_engine.world import World

SPACE = "settled"
SETTLEMENT = "SETTLED"
TIMER = "delivery"
AGAIN = timedelta(seconds=30)
MARGINS_RISE = 4  # trading days before the expiry (config/market/contracts.yaml, risk_rules.settlement.stock)
DERIVATIVES = frozenset({Kind.FUTURE, Kind.CALL, Kind.PUT})


class DeliverySettings(msgspec.Struct, frozen=True):
    """From when on carried stock contracts are flat: `time` of `days` trading days before their expiry."""

    days: int = 1
    time: time = time(15)


class Final(msgspec.Struct, frozen=True):
    """The price of an expired contract's underlying at its settlement, in rupees or points, where it comes from, and the rule of the
    exchange by which it is made, with that rule's status."""

    underlying: float
    source: str
    rule: str

    def of(self, instrument: Instrument) -> float:
        """What one unit of the contract is worth."""
        if not instrument.is_option:
            return self.underlying
        assert instrument.strike is not None
        worth = self.underlying - instrument.strike if instrument.kind is Kind.CALL else instrument.strike - self.underlying
        return max(0.0, worth)


class Settlement(msgspec.Struct, frozen=True):
    """One sub-account's end in an expired contract: `quantity` is the signed change, money is paise."""

    strategy: str
    instrument: Instrument
    product: str
    quantity: int
    price: float
    at: datetime
    source: str
    charges: int = 0

    def as_fill(self, account: str) -> Fill:
        """In a fill's shape, for round trips alone: it is none, and is in no list of fills and no digest."""
        side = Side.BUY if self.quantity > 0 else Side.SELL
        return Fill(
            SETTLEMENT, SETTLEMENT, account, self.strategy, self.instrument, side, abs(self.quantity), self.price, self.at, self.charges
        )


class Expiry:
    """Watches what is held as its contract ends. `flatten` is the engine's; `tax` gives rupees of exercise tax for a worth and a day."""

    def __init__(
        self,
        settings: DeliverySettings,
        *,
        clock: Clock,
        timers: Timers,
        store: Store,
        desk: OrderDesk,
        portfolio: Portfolio,
        targets: Targets,
        world: World,
        alert: Alert,
        flatten: Callable[[Target, str, Purpose], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timers = timers
        self._store = store
        self._desk = desk
        self._portfolio = portfolio
        self._targets = targets
        self._world = world
        self._alert = alert
        self._flatten = flatten
        world.flat_from = self.flat_from

    # --- before -------------------------------------------------------------------------------------------------------------------

    def flat_from(self, instrument: Instrument) -> datetime | None:
        """From when on nobody may carry it, because it is settled in shares; None for what is settled in cash or never."""
        if instrument.expiry is None or not settles_in_shares(instrument, self._world.calendar):
            return None
        return datetime.combine(self._world.calendar.contracts.back(instrument.expiry, self._settings.days), self._settings.time, IST)

    def open_day(self, day: date) -> None:
        """Tell who carries what is near its delivery, and set the timer for what comes due today, also if it is entered today."""
        due = [datetime.combine(day, self._settings.time, IST)]
        for position in self._held():
            instrument = position.instrument
            at = self.flat_from(instrument)
            if at is None or instrument.expiry is None or self._world.calendar.contracts.back(instrument.expiry, MARGINS_RISE) > day:
                continue
            ours = position.strategy != EXTERNAL
            then = f"it is flattened from {at:%Y-%m-%d %H:%M}" if ours else "it is not ours, and left alone"
            text = f"{position.strategy} holds {position.quantity} {instrument.key}, settled in shares on {instrument.expiry}"
            self._alert("warn", "Physical settlement ahead", f"{text}; margins rise until then; {then}")
            if ours and at.date() <= day:
                due.append(at)
        self._timers.set(TIMER, max(min(due), self._clock.now()))

    def fire(self, now: datetime) -> None:
        """Flatten what may not be carried any more; look again until it is gone, and nothing is on its way in."""
        held = [one for one in self._held() if one.strategy != EXTERNAL and self._is_due(one.instrument, now)]
        left = [one.instrument for one in held]
        left += [order.instrument for order in self._desk.live() if order.horizon is Horizon.CARRY and self._is_due(order.instrument, now)]
        for position in held:
            if position.horizon is Horizon.INTRADAY:
                continue  # the square-off's
            target = self._targets.holding(position.strategy, position.instrument)
            if target is None:
                target = Target(position.strategy, position.instrument.key, position.instrument, 0, 0, position.horizon, now)
            if target.wanted != 0 or not target.latched:
                text = f"{position.strategy} still holds {position.quantity} {position.instrument.key}, settled in shares on "
                self._alert("page", "Flattened before delivery", f"{text}{position.instrument.expiry}")
            self._flatten(target, "before it is settled in shares", Purpose.EXIT)
        if any(self._world.calendar.is_open(one, now + AGAIN) for one in left):
            self._timers.wait(TIMER, now, AGAIN)
        elif now < (today := datetime.combine(now.date(), self._settings.time, IST)):
            self._timers.set(TIMER, today)

    def _is_due(self, instrument: Instrument, now: datetime) -> bool:
        at = self.flat_from(instrument)
        return at is not None and at <= now

    # --- after ----------------------------------------------------------------------------------------------------------------------

    def expired(self) -> list[Instrument]:
        """Contracts that somebody holds and that trade no more."""
        found = {one.instrument.key: one.instrument for one in self._held() if self._world.expired(one.instrument)}
        return [found[key] for key in sorted(found)]

    def settle(self, finals: Mapping[str, Final], tax: Callable[[float, date], float]) -> list[Settlement]:
        """Book the end of every expired contract whose final price is given, by instrument key; tell of the others."""
        now, done = self._clock.now(), []
        for instrument in self.expired():
            final = finals.get(instrument.key)
            if final is None:
                text = f"{instrument.key} expired on {instrument.expiry}; its final price is not known yet, so the position stays"
                self._alert("page", "Not settled", f"{text} and is booked when it is; the broker's contract note has it")
                continue
            assert instrument.expiry is not None
            price, day = round(final.of(instrument), 4), instrument.expiry
            for strategy, product, change in self._portfolio.open_in(instrument):
                owed = round(tax(-change * price * instrument.multiplier, day) * 100) if change < 0 < price and instrument.is_option else 0
                one = Settlement(strategy, instrument, product, change, price, now, final.source, owed)
                self._portfolio.settle(strategy, instrument, product, price, owed)
                self._store.put(SPACE, f"{day.isoformat()}|{strategy}|{instrument.key}|{product}", msgspec.to_builtins(one))
                facts: dict[str, Any] = {"strategy": strategy, "instrument": instrument.key, "product": product, "quantity": change}
                facts |= {"price": price, "source": final.source, "rule": final.rule, "charges": owed / 100}
                self._store.journal(now, "settled", facts)
                done.append(one)
            if settles_in_shares(instrument, self._world.calendar):
                self._alert("page", "Settled in shares", f"{instrument.key}: look at the broker's delivery obligation and the holdings")
            for target in [target for target in self._targets if target.instrument.key == instrument.key]:
                self._targets.drop(target)
        return done

    def _held(self) -> Iterable[Position]:
        return [one for one in self._portfolio.positions() if one.quantity and one.instrument.kind in DERIVATIVES]


def settles_in_shares(instrument: Instrument, calendar: Calendar) -> bool:
    """Whether its expiry delivers the underlying: every stock's contract since October 2019, no index's."""
    return instrument.kind in DERIVATIVES and instrument.segment == "FO" and instrument.underlying not in calendar.contracts.index_roots
