"""The `instruments` command: fetch today's snapshot, list what is kept, resolve a name on a date, the table of a future's rolls."""

import contextlib
import gzip
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from brokers import registry
from core.errors import DataError, NiyamError
from core.market import Calendar
from core.ports import InstrumentLookup
from core.types import Account, Instrument
from data_ingestion import joins, logical_names, rollover
from data_ingestion.candle_store import CandleStore
from data_ingestion.instruments import InstrumentStore, InstrumentUpdate
from data_ingestion.intervals import interval_word
from data_ingestion.logical_names import PriceOf
from runtime import state_folder
from runtime.venue import Venue
from utils.config_loader import Config, environment, load, load_calendar
from utils.pacing import Budget

FRESH = 7  # days: an older snapshot does not answer for a date; contracts and lots will have changed


def update(config: Config, account: Account, state: Path, here: Venue) -> dict[str, Any]:
    """Fetch the broker's dump of today through the account's session, validate it and keep it as today's snapshot."""
    spec, folder, now = here.spec, here.folder(state, account), here.clock.now()
    session = here.session(account, folder)
    source = spec.make_data(session, here.clock, Budget(here.clock, spec.limits), None, here.endpoints, _no_lookup)
    done = InstrumentStore(folder.instruments, config.calendar(account.kind), spec.name).update(source, spec, now.date(), now, again=True)
    if not done.accepted:
        raise NiyamError(f"today's instruments were refused: {done.reason}; the snapshot of {done.snapshot.day} stays in use")
    return {"day": done.snapshot.day.isoformat(), "broker": spec.name, "instruments": len(done.snapshot), "counts": dict(done.counts)}


def update_from_file(config: Path, state: Path, here: Venue, account: Account, file: Path, day: date) -> dict[str, Any]:
    """Take a dump that was downloaded by other means as the snapshot of `day`; no login is needed."""
    calendar, now = load_calendar(config), here.clock.now()
    store = InstrumentStore(here.folder(state, account).instruments, calendar, here.spec.name)
    done = store.update(_File(file), here.spec, day, now, again=True)
    if not done.accepted:
        raise NiyamError(f"{file} was refused: {done.reason}")
    return _told(here.spec.name, file, done)


def report(config: Path, here: Venue, file: Path, day: date, before: Path | None) -> dict[str, Any]:
    """What a dump holds and what of it can be used, without keeping anything: by exchange and kind, what is left out and why, what differs
    from another day's file (`before`), and what is alarming."""
    calendar, spec, now = load_calendar(config), here.spec, here.clock.now()
    with tempfile.TemporaryDirectory() as folder:
        store = InstrumentStore(Path(folder), calendar, spec.name)
        if before is not None:
            with contextlib.closing(store.update(_File(before), spec, day - timedelta(days=1), now).snapshot):
                pass
        done = store.update(_File(file), spec, day, now)
        with contextlib.closing(done.snapshot):
            if not done.accepted:
                return {"file": str(file), "broker": spec.name, "day": day.isoformat(), "accepted": False, "reason": done.reason}
            return _told(spec.name, file, done)


def join(ours: tuple[str, Path, date], theirs: tuple[str, Path, date]) -> dict[str, Any]:
    """Whether two brokers' dumps, each given as (broker, file, its day), name the same contracts (data_ingestion/joins.py)."""
    return joins.compare(_listing(*ours), _listing(*theirs))


def _listing(broker: str, file: Path, day: date) -> joins.Listing:
    spec = registry.get(broker)
    rows = ((row.instrument(), row.token) for row in spec.parse_instruments(_File(file).instruments()))
    return joins.listing(broker, day, rows, spec.exchange_number)


class _File:
    """A dump on disk, as the broker sent it (packed with gzip or not)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def instruments(self) -> bytes:
        try:
            dump = self._path.read_bytes()
            return gzip.decompress(dump) if dump[:2] == b"\x1f\x8b" else dump
        except (OSError, EOFError) as error:
            raise DataError(f"{self._path} does not read: {error}") from error


def _told(broker: str, file: Path, done: InstrumentUpdate) -> dict[str, Any]:
    snapshot = done.snapshot
    segments = snapshot.segments()
    left_out = {reason: count for reason, count in done.counts.items() if reason not in {row["exchange"] for row in segments}}
    return {
        "file": str(file),
        "broker": broker,
        "day": snapshot.day.isoformat(),
        "accepted": True,
        "instruments": len(snapshot),
        "left_out": left_out,
        "segments": segments,
        "changes": {what: {"count": count, "examples": list(examples)} for what, (count, examples) in done.drift.changes.items()},
        "alarms": list(done.drift.alarms),
    }


def show(config: Path, state: Path, broker: str) -> list[dict[str, Any]]:
    """Each snapshot that is kept: its day, its folder and how many instruments it has."""
    calendar = load_calendar(config)
    rows = []
    for folder in _folders(state):
        store = InstrumentStore(folder, calendar, broker)
        for day in store.days():
            snapshot = store.open(day)
            if snapshot is not None:
                with contextlib.closing(snapshot):
                    rows.append({"day": day.isoformat(), "broker": broker, "instruments": len(snapshot), "folder": str(folder)})
    return sorted(rows, key=lambda row: str(row["day"]))


def resolve(config: Path, state: Path, broker: str, name: str, on: date, price: float | None = None) -> dict[str, Any]:
    """What `name` means on a date: by the snapshot of that date if one is kept, else by the calendar's expiry rules (logical names only).
    `price` is the underlying's, for options by their distance from the money."""
    calendar = load_calendar(config)
    given: PriceOf | None = None if price is None else lambda key: price
    for folder in _folders(state):
        snapshot = InstrumentStore(folder, calendar, broker).open(on)
        if snapshot is not None:
            with contextlib.closing(snapshot):
                if (on - snapshot.day).days <= FRESH:
                    return {"name": name, **_document(snapshot.resolve(name, on, given), on, f"snapshot of {snapshot.day}")}
    return _by_rule(calendar, name, on, given)


def _by_rule(calendar: Calendar, name: str, on: date, price: PriceOf | None) -> dict[str, Any]:
    logical = logical_names.parse(name)
    if logical is None:
        raise DataError(
            f"{name!r} on {on}: no instrument snapshot of that date is kept, and only logical names such as NIFTY_FUT or NIFTY_WEEK_ATM_CE "
            "follow from the calendar; fetch one with `main.py instruments update`"
        )
    last = calendar.holidays_until
    if on.year > last:
        raise DataError(f"{name!r} on {on}: config/market/holidays.yaml ends with {last}; ask for a day until then")
    made = logical_names.by_rules(logical, on, calendar, price)
    assert made.expiry is not None
    doubts = []
    if logical.root not in calendar.contracts.index_roots:
        doubts.append(f"{logical.root} is taken for a stock; whether it had futures then was not checked")
    if made.expiry.year > last:
        doubts.append(f"the holidays of {made.expiry.year} are not known, so its expiry may be earlier")
    elif calendar.status(made.expiry) != "confirmed":
        doubts.append(f"the calendar of {made.expiry.year} is {calendar.status(made.expiry)}, so its expiry may differ")
    unchecked = "".join(f"; {doubt}" for doubt in doubts)
    lot = calendar.contracts.lot(logical.root, made.expiry, exchange=made.exchange)
    return {
        "name": name,
        **_document(made, on, f"the calendar's expiry rules (no snapshot of that date){unchecked}"),
        "lot": lot,  # None: a stock's is only in the instruments of the day
    }


def roll_table(config: Path, state: Path, name: str, start: date, end: date, source: str, interval: int) -> dict[str, Any]:
    """The rolls of a future's name between two days: by the rule of the settings, with prices and open interest where the candle store has
    both contracts from `source`. DataError for what is no future's name."""
    calendar, rule = load_calendar(config), roll_rule(config)
    logical = logical_names.parse(name)
    if not isinstance(logical, logical_names.FutureName):
        raise DataError(f"{name!r} does not roll: give a future's name, such as NIFTY_FUT or RELIANCE_FUT")
    bars = rollover.stored(CandleStore(state / "candles"), source, logical.root, calendar, start, end, interval)
    table = [point for point in rollover.roll_table(bars, calendar, rule, end=end) if point.day >= start]
    unknown = [point.day.isoformat() for point in table if point.gap is None]
    return {
        "name": name,
        "rule": rule.by,
        "source": source,
        "interval": interval_word(interval),
        "from": start.isoformat(),
        "to": end.isoformat(),
        "rolls": rollover.document(table),
        "version": rollover.version(table),
        "without_prices": unknown,
    }


def roll_rule(config: Path) -> rollover.RollRule:
    """The rule of settings.yaml."""
    given = load(config).settings.rollover
    return rollover.RollRule(given.rule, given.oi_from_days, given.time)


def _document(instrument: Instrument, on: date, by: str) -> dict[str, Any]:
    return {
        "on": on.isoformat(),
        "key": instrument.key,
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "kind": str(instrument.kind),
        "underlying": instrument.underlying,
        "expiry": instrument.expiry.isoformat() if instrument.expiry else None,
        "strike": instrument.strike,
        "lot": instrument.lot,
        "tick_size": instrument.tick_size,
        "freeze": instrument.freeze,
        "is_fno": instrument.is_fno,
        "by": by,
    }


def _folders(state: Path) -> list[Path]:
    """Where snapshots may be: those of the present simulator alone; else of the run in use, then of each account."""
    simulator = environment("NIYAM_SIMULATOR")
    if simulator:
        return sorted((state / "simulated").glob(f"*-{simulator.rstrip('/').rpartition(':')[2]}/instruments"))
    current = state_folder.current(state)
    found = [current.instruments] if current else []
    return found + [path for path in sorted((state / "accounts").glob("*/instruments")) if path not in found]


def _no_lookup() -> InstrumentLookup:
    raise DataError("the dump is fetched before there is a snapshot to look into")
