"""What differs between today's instruments and the day's before: told, alarmed, or reason enough to refuse the dump.

Told (counts and examples): what is new, what is gone though it had not expired, tokens that were given to something else, freezes, stocks
that joined or left F&O. Alarmed: a live contract whose lot, tick, expiry, strike or token changed, an index lot or monthly expiry that
the calendar's tables do not have, one contract under two names. Refused: when a fifth of a compared exchange's live contracts have changed
in lot, expiry or strike, the file's columns are not what they were.
"""

import sqlite3
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec

from core.errors import DataError
from core.market import Calendar

LARGEST_CHANGED = 0.20
"""Share of an exchange's live contracts that may have another lot, expiry or strike than the day before; beyond it the columns moved."""
_COMPARED = 50  # live contracts of an exchange below which a share means nothing
_SHOWN = 5
_TOLD = {
    "new": "SELECT a.key FROM main.instruments a LEFT JOIN before.instruments b USING (key) WHERE b.key IS NULL",
    "gone": "SELECT b.key FROM before.instruments b LEFT JOIN main.instruments a USING (key) WHERE a.key IS NULL "
    "AND (b.expiry IS NULL OR b.expiry >= :day)",
    "expired": "SELECT b.key FROM before.instruments b WHERE b.expiry < :day",
    "tokens given to others": "SELECT b.key || ' -> ' || a.key FROM main.instruments a JOIN before.instruments b USING (token) "
    "WHERE a.key <> b.key",
    "freeze changed": "SELECT a.key || ' ' || b.freeze || ' -> ' || a.freeze FROM main.instruments a JOIN before.instruments b USING (key) "
    "WHERE a.freeze IS NOT b.freeze AND a.freeze IS NOT NULL AND b.freeze IS NOT NULL",
    "joined F&O": "SELECT a.key FROM main.instruments a JOIN before.instruments b USING (key) WHERE a.is_fno > b.is_fno",
    "left F&O": "SELECT a.key FROM main.instruments a JOIN before.instruments b USING (key) WHERE a.is_fno < b.is_fno",
}
_CHANGED = (
    "SELECT a.key || ' ' || coalesce(b.COLUMN, '-') || ' -> ' || coalesce(a.COLUMN, '-') FROM main.instruments a "
    "JOIN before.instruments b USING (key) WHERE a.COLUMN IS NOT b.COLUMN AND (b.expiry IS NULL OR b.expiry >= :day)"
)
_ALARMED = {
    f"{name} changed": _CHANGED.replace("COLUMN", name) for name in ("lot", "tick_size", "expiry", "strike", "token", "kind", "underlying")
}


class Drift(msgspec.Struct, frozen=True):
    """`changes`: what -> (how many, the first few). `alarms`: sentences for a person."""

    changes: Mapping[str, tuple[int, tuple[str, ...]]] = {}
    alarms: tuple[str, ...] = ()


def compare(database: sqlite3.Connection, day: date, previous: Path | None, calendar: Calendar) -> Drift:
    """Today's instruments (`database`) beside the snapshot file `previous` and the calendar; raises DataError where they are incredible."""
    changes: dict[str, tuple[int, tuple[str, ...]]] = {}
    alarms: list[str] = []
    if previous is not None:
        database.execute("ATTACH DATABASE ? AS before", (f"{previous.resolve().as_uri()}?mode=ro&immutable=1",))
        try:
            _refuse(database, day)
            for what, statement in (_TOLD | _ALARMED).items():
                found = [str(row[0]) for row in database.execute(statement, {"day": day.isoformat()}) if row[0] is not None]
                if not found:
                    continue
                changes[what] = (len(found), tuple(found[:_SHOWN]))
                if what in _ALARMED:
                    more = "" if len(found) <= _SHOWN else f" and {len(found) - _SHOWN} more"
                    alarms.append(f"{what} in {len(found)} live instruments: {', '.join(found[:_SHOWN])}{more}")
        finally:
            database.commit()
            database.execute("DETACH DATABASE before")
    return Drift(changes, (*alarms, *_twins(database), *_against_tables(database, calendar)))


def _twins(database: sqlite3.Connection) -> list[str]:
    """Contracts that are the same by identity: brokers' instruments are joined by it, so that each must be one."""
    found = database.execute(
        "SELECT group_concat(key, ' = ') FROM instruments WHERE expiry IS NOT NULL "
        "GROUP BY exchange, underlying, expiry, strike, kind HAVING count(*) > 1"
    ).fetchall()
    shown = ", ".join(str(row[0]) for row in found[:_SHOWN])
    return [f"{len(found)} contracts are listed under several names: {shown}; no match with another broker's"] if found else []


def _refuse(database: sqlite3.Connection, day: date) -> None:
    rows = database.execute(
        "SELECT a.exchange, count(*), sum(a.lot IS NOT b.lot OR a.expiry IS NOT b.expiry OR a.strike IS NOT b.strike) "
        "FROM main.instruments a JOIN before.instruments b USING (key) WHERE a.expiry IS NOT NULL AND b.expiry >= :day GROUP BY a.exchange",
        {"day": day.isoformat()},
    )
    for exchange, count, changed in rows:
        if count >= _COMPARED and changed > LARGEST_CHANGED * count:
            raise DataError(
                f"{changed} of {count} live contracts of {exchange} have another lot, expiry or strike in the instrument dump of {day} "
                "than the day before: its columns are not what they were; download it again"
            )


def _against_tables(database: sqlite3.Connection, calendar: Calendar) -> list[str]:
    """Index futures whose lot or expiry is not what config/market has for them; a person must say which is right."""
    alarms = []
    for exchange, root, expiry, lot, key in database.execute(
        "SELECT exchange, underlying, expiry, lot, key FROM instruments "
        "WHERE kind = 'FUT' AND exchange IN ('NFO', 'BFO') ORDER BY expiry, key"
    ):
        if root not in calendar.contracts.index_roots:
            continue
        ends = date.fromisoformat(expiry)
        try:
            expected = calendar.contracts.lot(root, ends, exchange=exchange)
            monthly = calendar.monthly_expiry(root, ends.year, ends.month, exchange=exchange)
        except DataError:
            continue  # the tables do not reach so far
        if expected is not None and expected != lot:
            alarms.append(f"{key} has lot {lot}, config/market/contracts.yaml says {expected}: find out which, then correct the table")
        if monthly != ends:
            alarms.append(f"{key} expires on {ends}, the calendar says {monthly}: find out which, then write it into overrides.yaml")
    return alarms
