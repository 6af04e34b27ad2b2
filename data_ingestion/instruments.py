"""The day's instruments: a broker's dump, validated, frozen into one dated file and read from it lazily.

A snapshot file is written once, whole, and never changed: SQLite, built beside its final name, fsynced, renamed. Reading it keeps
only what was asked for in memory, so a hundred thousand rows are ready in milliseconds. A dump that fails a check is refused whole,
with the reason, and the newest older snapshot stays in use; single rows that cannot be traded are left out and counted.
"""

import difflib
import hashlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from core.errors import DataError, RateLimited, Transient, Unknown
from core.market import Calendar
from core.ports import InstrumentSource, Token
from core.types import Instrument, Kind
from data_ingestion import logical_names
from data_ingestion.contracts import INDEX_KEYS, future_by_rules, parse_contract
from data_ingestion.instrument_drift import Drift, compare
from data_ingestion.logical_names import FutureName, OptionName, PriceOf

LARGEST_DROP = 0.20
"""Share of yesterday's rows of one exchange, still alive today, whose absence makes a dump incredible."""
LARGEST_BAD_SHARE = 0.01
LARGEST_EXPIRED_SHARE = 0.05
"""Shares of a dump's rows that do not read, and that have expired, beyond which it is refused whole."""
_SMALLEST_COMPARED = 50  # rows of an exchange below which a drop means nothing
_EXCHANGES = ("NSE", "NFO", "BSE", "BFO", "MCX", "CDS", "BCD", "NCO")
_COLUMNS = "key, exchange, symbol, kind, underlying, lot, tick_size, expiry, strike, freeze, multiplier, is_fno"
_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE instruments ({_COLUMNS}, token NOT NULL);
"""
_INDEXES = """
CREATE UNIQUE INDEX by_key ON instruments (key);
CREATE UNIQUE INDEX by_token ON instruments (token);
CREATE INDEX by_identity ON instruments (underlying, kind, expiry, strike, exchange);
"""


class Row(Protocol):
    """One line of a dump; brokers.spec.InstrumentRow has this shape."""

    @property
    def token(self) -> Token: ...
    def instrument(self) -> Instrument: ...


class Rows(Protocol):
    """A dump being read: iterate once; then `skipped` counts unreadable rows by reason, `complete` is False for a broken-off download."""

    skipped: dict[str, int]
    complete: bool

    def __iter__(self) -> Iterator[Row]: ...


class DumpParser(Protocol):
    """The part of a broker's Spec that an update needs."""

    @property
    def name(self) -> str: ...
    @property
    def parse_instruments(self) -> Callable[[bytes], Rows]: ...


class InstrumentUpdate(msgspec.Struct, frozen=True):
    """How an update ended. `accepted` False: today's dump was refused for `reason` (raise an alert) and `snapshot` is an older day's.

    `counts`: rows by exchange, and what was left out, by reason. `drift`: what changed since the snapshot before, and what of it
    is alarming (data_ingestion/instrument_drift.py); empty for a snapshot that was there already.
    """

    snapshot: "InstrumentSnapshot"
    accepted: bool
    reason: str = ""
    counts: Mapping[str, int] = {}
    drift: Drift = Drift()


class InstrumentSnapshot:
    """One day's instruments, read from their file when asked; implements core.ports.InstrumentLookup. Safe from any thread."""

    def __init__(self, path: Path, calendar: Calendar) -> None:
        self.path = path
        self._calendar = calendar
        self._lock = threading.Lock()
        self._by_key: dict[str, Instrument | None] = {}
        self._by_token: dict[Token, Instrument | None] = {}
        self._tokens: dict[str, Token] = {}
        self._by_start: dict[str, Token] = {}  # what was found; a snapshot bounds it
        try:
            self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
            self._facts: dict[str, str] = dict(self._rows("SELECT name, value FROM facts"))
            self._day = date.fromisoformat(self._facts["day"])
        except (sqlite3.Error, KeyError, ValueError) as error:
            raise DataError(f"{path} is no instrument snapshot ({error}); remove it and run `instruments update`") from error

    @property
    def day(self) -> date:
        return self._day

    @property
    def id(self) -> str:
        """What a recording names it by: broker, day, and the dump's digest."""
        return f"{self._facts['broker']}/{self._facts['day']}/{self._facts['digest'][:16]}"

    @property
    def counts(self) -> dict[str, int]:
        """Rows by exchange, and what was left out of the dump by reason."""
        counts: dict[str, int] = json.loads(self._facts["counts"])
        return counts

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM instruments")[0][0])

    def by_key(self, key: str) -> Instrument | None:
        try:
            return self._by_key[key]
        except KeyError:
            return self._fetch("key", key)

    def by_token(self, token: Token) -> Instrument | None:
        try:
            return self._by_token[token]
        except KeyError:
            return self._fetch("token", token)

    def by_token_start(self, beginning: str) -> Instrument | None:
        """See core.ports.CodeLookup."""
        known = self._by_start.get(beginning)
        if known is None:
            end = beginning[:-1] + chr(ord(beginning[-1]) + 1)
            found = self._rows("SELECT token FROM instruments WHERE token >= ? AND token < ? LIMIT 2", (beginning, end))
            if len(found) != 1:
                return None
            known = self._by_start[beginning] = found[0][0]
        return self.by_token(known)

    def token(self, instrument: Instrument) -> Token:
        if instrument.key not in self._tokens and self.by_key(instrument.key) is None:
            raise DataError(self._unknown(instrument.key, self._day))
        return self._tokens[instrument.key]

    def same(self, instrument: Instrument) -> Instrument | None:
        """What this broker calls the contract, share or index that another broker's snapshot (or yesterday's) knows as `instrument`.

        They are joined by identity (exchange, underlying, expiry, strike, kind), never by symbol or token; in cash the symbol is the
        identity. Raises DataError where one identity has several rows.
        """
        if instrument.expiry is None:
            return self.by_key(instrument.key)
        found = self._rows(
            "SELECT key FROM instruments WHERE exchange = ? AND underlying = ? AND expiry = ? AND strike IS ? AND kind = ?",
            (instrument.exchange, instrument.underlying, instrument.expiry.isoformat(), instrument.strike, instrument.kind.value),
        )
        if len(found) > 1:
            raise DataError(f"{instrument.key} is {', '.join(row[0] for row in found)} in {self.path}: one contract has one row")
        return self.by_key(found[0][0]) if found else None

    def futures(self, root: str) -> list[Instrument]:
        """Futures of one underlying that live on the snapshot's day, nearest expiry first."""
        found = self._rows(f"SELECT {_COLUMNS} FROM instruments WHERE underlying = ? AND kind = 'FUT' ORDER BY expiry, key", (root,))  # noqa: S608 - our own column names
        return [_instrument(row) for row in found]

    def options(self, root: str, expiry: date) -> list[Instrument]:
        """Options of one underlying and expiry by strike, call before put."""
        found = self._rows(
            f"SELECT {_COLUMNS} FROM instruments WHERE underlying = ? AND kind IN ('CE', 'PE') AND expiry = ? ORDER BY strike, kind",  # noqa: S608 - our own column names
            (root, expiry.isoformat()),
        )
        return [_instrument(row) for row in found]

    def resolve(self, name: str, on: date, price: PriceOf | None = None) -> Instrument:
        """The instrument that a configured name means on `on`: NIFTY_FUT, NIFTY_WEEK_ATM_CE, RELIANCE, NIFTY26NOVFUT, NFO:NIFTY26NOVFUT.

        The near month serves through E-1 (index) or E-2 (stock). Days before the snapshot's are answered from the expiry rules. An
        option by its distance from the money needs the underlying's `price` (data_ingestion/logical_names.py has the grammar).
        Raises DataError: an unknown name with the nearest ones, an expired contract with its day and the one in force.
        """
        logical = logical_names.parse(name)
        if isinstance(logical, FutureName):
            return self._future(logical.root, on, logical.months)
        if logical is not None:
            return self._option(logical, on, price)
        keys = [name] if ":" in name else [f"{exchange}:{name}" for exchange in _EXCHANGES] + [INDEX_KEYS.get(name, "")]
        for key in keys:
            found = self.by_key(key)
            if found is not None:
                if found.expiry is not None and found.expiry < on:
                    raise DataError(self._expired(found.key, found.underlying, found.expiry, on))
                return found
        raise DataError(self._unknown(name, on))

    def segments(self) -> list[dict[str, Any]]:
        """What it holds by exchange and kind: rows, underlyings, lots and ticks (least to most), expiries (first to last)."""
        rows = self._rows(
            "SELECT exchange, kind, count(*), count(DISTINCT underlying), min(lot), max(lot), min(tick_size), max(tick_size), "
            "count(DISTINCT expiry), min(expiry), max(expiry) FROM instruments GROUP BY exchange, kind ORDER BY exchange, kind"
        )
        names = ("exchange", "kind", "rows", "underlyings", "lot_min", "lot_max", "tick_min", "tick_max", "expiries", "first", "last")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def near(self, name: str) -> list[str]:
        """Up to three keys that look most like `name`."""
        symbol = name.partition(":")[2] or name
        candidates = self._rows(
            "SELECT symbol, key FROM instruments WHERE symbol LIKE ? ORDER BY length(symbol) LIMIT 5000", (symbol[:2] + "%",)
        )
        keys: dict[str, str] = {}
        for other, key in candidates:
            keys.setdefault(other, key)
        return [keys[match] for match in difflib.get_close_matches(symbol, keys, 3, 0.6)]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _future(self, root: str, on: date, months: int) -> Instrument:
        if on < self._day:
            return future_by_rules(root, on, self._calendar, months)
        listed = self.futures(root)
        live = [future for future in listed if future.expiry and on <= self._calendar.contracts.roll_day(root, future.expiry)]
        if months < len(live):
            return live[months]
        if not listed:
            near = ", ".join(self.near(root))
            raise DataError(f"{root} has no futures in the instruments of {self._day}{f'; near it: {near}' if near else ''}")
        raise DataError(
            f"{root} has no {('near', 'next', 'far')[months]} future for {on}: the instruments of {self._day} hold "
            f"{', '.join(f'{future.key} (expiry {future.expiry})' for future in listed)}"
        )

    def _option(self, name: OptionName, on: date, price: PriceOf | None) -> Instrument:
        if on < self._day:
            return logical_names.by_rules(name, on, self._calendar, price)
        rows = self._rows(
            "SELECT DISTINCT expiry FROM instruments WHERE underlying = ? AND kind = ? ORDER BY expiry", (name.root, name.kind.value)
        )
        if not rows:
            near = ", ".join(self.near(name.root))
            raise DataError(f"{name.root} has no options in the instruments of {self._day}{f'; near it: {near}' if near else ''}")
        expiry = logical_names.choose_expiry(name, [date.fromisoformat(row[0]) for row in rows], on, self._calendar)
        ladder = {one.strike: one for one in self.options(name.root, expiry) if one.kind is name.kind and one.strike is not None}
        return ladder[logical_names.choose_strike(name, sorted(ladder), logical_names.price_of(name, price))]

    def _unknown(self, name: str, on: date) -> str:
        symbol = name.partition(":")[2] or name
        try:
            contract = parse_contract(symbol, self._calendar, on)
        except DataError:
            contract = None
        if contract is not None and contract.expiry < on:
            return self._expired(name, contract.root, contract.expiry, on)
        near = [name.upper()] if logical_names.parse(name) is None and logical_names.parse(name.upper()) else self.near(name.upper())
        root = symbol.removesuffix("FUT")
        if root != symbol and self._rows("SELECT 1 FROM instruments WHERE underlying = ? AND kind = 'FUT' LIMIT 1", (root,)):
            near = [f"{root}_FUT", *near[:2]]
        hint = f"did you mean {' or '.join(near)}?" if near else "run `instruments update` if it was listed today"
        return f"{name!r} is not in the instruments of {self._day}; {hint}"

    def _expired(self, name: str, root: str, expiry: date, on: date) -> str:
        try:
            current = f"; {root}_FUT is {self._future(root, on, 0).key} now"
        except DataError:
            current = ""
        return f"{name} expired on {expiry}, before {on}{current}"

    def _fetch(self, column: str, value: object) -> Instrument | None:
        found = self._rows(f"SELECT {_COLUMNS}, token FROM instruments WHERE {column} = ?", (value,))  # noqa: S608 - a name of ours
        if not found:
            if len(self._by_token) + len(self._by_key) < 100_000:  # what is not there is remembered too, within bounds
                (self._by_key if column == "key" else self._by_token)[value] = None  # type: ignore[index]  # as the column says
            return None
        instrument, token = _instrument(found[0][:-1]), found[0][-1]
        self._tokens[instrument.key] = token
        self._by_token[token] = instrument
        return self._by_key.setdefault(instrument.key, instrument)

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


class InstrumentStore:
    """The folder of one broker's dated snapshots."""

    def __init__(self, folder: Path, calendar: Calendar, broker: str = "zerodha") -> None:
        self._folder = folder
        self._calendar = calendar
        self._broker = broker

    def days(self) -> list[date]:
        """The days there are snapshots of, ascending."""
        if not self._folder.is_dir():
            return []
        start = len(self._broker) + 1
        return sorted(date.fromisoformat(path.stem[start:]) for path in self._folder.glob(f"{self._broker}-????-??-??.sqlite"))

    def open(self, day: date) -> InstrumentSnapshot | None:
        """The newest snapshot not later than `day` (its `day` says how old it is); None without any."""
        days = [known for known in self.days() if known <= day]
        return InstrumentSnapshot(self._path(days[-1]), self._calendar) if days else None

    def update(
        self, source: InstrumentSource, spec: DumpParser, day: date, now: datetime, *, known: Sequence[str] = (), again: bool = False
    ) -> InstrumentUpdate:
        """Make the snapshot of `day` from the broker's dump, unless it is there already (`again` downloads anew).

        `known` are keys that must be in it. A dump that does not arrive, fails a check or cannot be written leaves the newest older
        snapshot in use; without any DataError (or the BrokerError) is raised. SessionExpired and Rejected are raised at once.
        """
        if self._path(day).exists() and not again:
            snapshot = InstrumentSnapshot(self._path(day), self._calendar)
            return InstrumentUpdate(snapshot, True, "", snapshot.counts)
        previous = self.open(day)
        try:
            path, drift = self._build(source.instruments(), spec, day, now, previous, known)
        except (DataError, Transient, RateLimited, Unknown, OSError, sqlite3.Error) as error:
            if previous is None:
                if isinstance(error, OSError | sqlite3.Error):
                    raise DataError(
                        f"the instruments of {day} could not be written to {self._folder}: {error}; free space and retry"
                    ) from error
                raise
            return InstrumentUpdate(previous, False, f"{error}; the instruments of {previous.day} stay in use", previous.counts)
        snapshot = InstrumentSnapshot(path, self._calendar)
        return InstrumentUpdate(snapshot, True, "", snapshot.counts, drift)

    def _path(self, day: date) -> Path:
        return self._folder / f"{self._broker}-{day.isoformat()}.sqlite"

    def _build(
        self, dump: bytes, spec: DumpParser, day: date, now: datetime, previous: InstrumentSnapshot | None, known: Sequence[str]
    ) -> tuple[Path, Drift]:
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._path(day)
        draft = final.with_suffix(f".{os.getpid()}.draft")
        draft.unlink(missing_ok=True)
        try:
            database = sqlite3.connect(f"{draft.resolve().as_uri()}", uri=True)
            try:
                database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}")
                counts = self._load(database, spec.parse_instruments(dump), day)
                self._compare(database, day, previous, known)
                database.commit()
                earlier = previous.path if previous is not None and previous.path != final else None
                drift = compare(database, day, earlier, self._calendar)
                facts = {
                    "broker": self._broker,
                    "day": day.isoformat(),
                    "made_at": now.isoformat(),
                    "digest": hashlib.sha256(dump).hexdigest(),
                    "counts": json.dumps(counts),
                }
                database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
                database.commit()
            finally:
                database.close()
            _make_durable(draft)
            draft.rename(final)
            _make_durable(self._folder)
        finally:
            draft.unlink(missing_ok=True)
        return final, drift

    def _load(self, database: sqlite3.Connection, rows: Rows, day: date) -> dict[str, int]:
        """Stream the dump into the draft; returns what to tell about it. Raises DataError where too much of it is wrong."""
        out: Counter[str] = Counter()
        database.executemany("INSERT INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._good(rows, day, out))
        out.update(rows.skipped)
        if not rows.complete:
            raise DataError(f"the instrument dump of {day} breaks off in the middle of a line: download it again")
        twins = [
            key
            for column in ("key", "token")
            for (key,) in database.execute(
                f"SELECT key FROM instruments WHERE {column} IN (SELECT {column} FROM instruments GROUP BY {column} HAVING count(*) > 1)"  # noqa: S608 - our own column names
            )
        ]
        if twins:
            database.executemany("DELETE FROM instruments WHERE key = ?", [(key,) for key in set(twins)])
            out["duplicate key or token"] += len(twins)
        total = int(database.execute("SELECT count(*) FROM instruments").fetchone()[0])
        expired = out["expired"]
        bad = sum(out.values()) - expired
        if total == 0:
            raise DataError(f"the instrument dump of {day} holds no usable row ({_listed(out)}): download it again")
        if bad > LARGEST_BAD_SHARE * (total + bad):
            raise DataError(f"{bad} of {total + bad} rows of the instrument dump of {day} are wrong ({_listed(out)}): download it again")
        if expired > LARGEST_EXPIRED_SHARE * (total + expired):
            raise DataError(f"{expired} of {total + expired} rows of the instrument dump expired before {day}: it is an older day's")
        database.execute(
            "UPDATE instruments SET is_fno = 1 WHERE kind = 'EQ' AND symbol IN "
            "(SELECT underlying FROM instruments WHERE kind = 'FUT' AND exchange IN ('NFO', 'BFO'))"
        )
        database.executescript(_INDEXES)
        return dict(database.execute("SELECT exchange, count(*) FROM instruments GROUP BY exchange").fetchall()) | dict(out)

    def _good(self, rows: Rows, day: date, out: Counter[str]) -> Iterator[tuple[object, ...]]:
        """Rows that can be traded, as they are stored; the others are counted in `out`."""
        freezes: dict[tuple[str, int], int | None] = {}
        for line in rows:
            row = line.instrument()
            derivative = row.kind in (Kind.FUTURE, Kind.CALL, Kind.PUT)
            if row.kind is not Kind.INDEX and (row.lot <= 0 or not row.tick_size > 0):
                out["zero lot or tick"] += 1
                continue
            if row.expiry is not None and row.expiry < day:
                out["expired"] += 1
                continue
            freeze = None
            if derivative:
                if (row.underlying, row.lot) not in freezes:
                    freezes[row.underlying, row.lot] = self._calendar.freeze(row.underlying, day, row.lot)
                own = None if not row.freeze else row.freeze // row.lot * row.lot
                freeze = own or freezes[row.underlying, row.lot]
            yield (
                *(row.key, row.exchange, row.symbol, row.kind.value, row.underlying, row.lot, row.tick_size),
                *(row.expiry.isoformat() if row.expiry else None, row.strike, freeze, row.multiplier, 0, line.token),
            )

    def _compare(self, database: sqlite3.Connection, day: date, previous: InstrumentSnapshot | None, known: Sequence[str]) -> None:
        """What must be there: the `known` keys, and of yesterday's rows that still live four in five on each exchange, each index root."""
        missing = [key for key in known if database.execute("SELECT 1 FROM instruments WHERE key = ?", (key,)).fetchone() is None]
        if previous is not None:
            today = dict(database.execute("SELECT exchange, count(*) FROM instruments GROUP BY exchange").fetchall())
            for exchange, expected in previous._rows(
                "SELECT exchange, count(*) FROM instruments WHERE expiry IS NULL OR expiry >= ? GROUP BY exchange", (day.isoformat(),)
            ):
                count = today.get(exchange, 0)
                if expected >= _SMALLEST_COMPARED and count < (1 - LARGEST_DROP) * expected:
                    raise DataError(
                        f"the instrument dump of {day} has {count} rows of {exchange} where {expected} of {previous.day}'s still live: "
                        "it is not whole; download it again"
                    )
            roots = {row[0] for row in database.execute("SELECT DISTINCT underlying FROM instruments WHERE kind = 'FUT'")}
            for root in sorted(self._calendar.contracts.index_roots - roots):
                missing += [f"{root} futures"] if previous.futures(root) else []
        if missing:
            raise DataError(f"the instrument dump of {day} lacks {', '.join(missing)}: download it again")


def _instrument(row: Sequence[object]) -> Instrument:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return msgspec.convert(fields, Instrument, strict=False)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count) or "nothing in it"


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
