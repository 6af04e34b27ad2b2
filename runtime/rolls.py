"""What the day's start and end do about contracts that end: which names change their contract, when open interest rolls them early, and
the final prices at which expired ones are booked."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING

from core.errors import BrokerError, DataError
from core.types import IST, Bar, Horizon, Instrument
from data_ingestion import logical_names
from data_ingestion.intervals import DAY_MINUTES
from data_ingestion.logical_names import FutureName
from data_ingestion.rollover import moved_on, open_interest
from execution_engine.charges import Charges
from execution_engine.expiry import Final
from execution_engine.rollover import Switch
from runtime.rebuild import waiting
from utils.config_loader import load_charges

if TYPE_CHECKING:
    from runtime.wiring import House

CHOSEN = "roll_days"
SETTLED = "settled"  # the recording's word for the final prices that were booked
LOOK_BACK = timedelta(days=10)  # holds the trading day before any trading day


def choose_days(house: "House", day: date, names: Iterable[str]) -> None:
    """With `rollover.rule: oi`: roll today what had more open in the next month yesterday. What was chosen once stays."""
    contracts, rule = house.calendar.contracts, house.config.settings.rollover
    for key, chosen in house.store.items(CHOSEN).items():
        root, expiry = key.split("|")
        contracts.roll_early(root, date.fromisoformat(expiry), date.fromisoformat(chosen))
    snapshot = house.instruments.open(day)
    if rule.rule != "oi" or snapshot is None:
        return
    for root in sorted({name.root for name in map(logical_names.parse, names) if isinstance(name, FutureName)}):
        try:
            near, following = (snapshot.resolve(f"{root}_FUT{after}", day) for after in ("", "_NEXT"))
            assert near.expiry is not None
            if not contracts.back(near.expiry, rule.oi_from_days) <= day < contracts.roll_day(root, near.expiry):
                continue
            known = [open_interest(waiting(house, partial(_day_candles, house, one, day))) for one in (near, following)]
        except (BrokerError, DataError) as error:
            house.alerts("warn", "Open interest not known", f"{root} on {day}: {error}; it rolls by days before the expiry")
            continue
        if moved_on(known[0], known[1], day, contracts):
            contracts.roll_early(root, near.expiry, day)
            house.store.put(CHOSEN, f"{root}|{near.expiry.isoformat()}", day.isoformat())
            before = contracts.back(day, 1)
            facts = {"root": root, "day": day.isoformat(), "old": near.key, "old_oi": known[0][before], "new_oi": known[1][before]}
            house.store.journal(house.clock.now(), "roll_day_chosen", facts)


def switches(house: "House", day: date, names: Mapping[str, Instrument]) -> dict[str, Switch]:
    """Every future's name in use: its contract today, and where the near month rolls today, the one after and when."""
    snapshot = house.instruments.open(day)
    assert snapshot is not None
    carried = {target.name for target in house.engine.targets if target.horizon is Horizon.CARRY and not target.by_hand}
    contracts, at = house.calendar.contracts, datetime.combine(day, house.config.settings.rollover.time, IST)
    found = {}
    for name in sorted(carried | names.keys()):
        logical = logical_names.parse(name)
        if not isinstance(logical, FutureName):
            continue
        try:
            today = names.get(name) or snapshot.resolve(name, day)
            near = snapshot.resolve(f"{logical.root}_FUT", day).expiry
        except DataError:
            found[name] = Switch(None)
            continue
        rolls = near is not None and contracts.roll_day(logical.root, near) == day
        later = [one for one in snapshot.futures(logical.root) if one.expiry and today.expiry and one.expiry > today.expiry]
        found[name] = Switch(today, later[0] if rolls and later else None, at if rolls else None)
    return found


def settle(house: "House") -> None:
    """Book what is held in contracts that have expired, at their final prices; what of these is not known is told and stays."""
    engine = house.engine
    over = engine.expiry.expired()
    if not over:
        return
    finals = {}
    for instrument in over:
        try:
            final = waiting(house, partial(_final, house, instrument))
        except (BrokerError, DataError) as error:
            house.alerts("warn", "Final price not known", f"{instrument.key}: {error}")
            continue
        if final is not None:
            finals[instrument.key] = final
    charges = Charges(load_charges(house.config.folder), house.account.broker, house.account.plan)
    house.recorder.note(SETTLED, house.clock.now(), {"finals": finals})
    engine.expiry.settle(finals, charges.exercise_tax)
    engine.settle()


def _final(house: "House", instrument: Instrument) -> Final | None:
    """The underlying's close of the expiry day: its last price while that day is not over, else its day candle."""
    key = logical_names.underlying_key(instrument.underlying)
    underlying = house.lookup().by_key(key)
    if underlying is None or instrument.expiry is None:
        return None
    rule = house.calendar.contracts.final_price_rule(instrument.expiry)
    if instrument.expiry == house.clock.now().date():
        price = house.data.last_prices([underlying]).get(key)
        return None if not price else Final(price, f"last price of {key} after the close", rule)
    start = datetime.combine(instrument.expiry, time(), IST)
    candles = house.data.candles(underlying, start, start + timedelta(hours=23), DAY_MINUTES)
    closes = [bar.close for bar in candles if bar.start.date() == instrument.expiry]
    return Final(closes[-1], f"day candle of {key} on {instrument.expiry}", rule) if closes else None


def _day_candles(house: "House", instrument: Instrument, day: date) -> list[Bar]:
    start = datetime.combine(day, time(), IST)
    return house.data.candles(instrument, start - LOOK_BACK, start - timedelta(seconds=1), DAY_MINUTES)
