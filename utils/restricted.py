"""Lists of securities in which no new position may be opened: the exchange's derivatives ban, surveillance measures, one's own.

Every CSV file of config/market/restricted/ is read, in one of two forms:
- the exchange's daily ban file, as published: a first line `Securities in Ban For Trade Date 20-NOV-2026:`, then `1,SAIL`. It holds for
  that day, and for futures and options alone;
- `symbol,scope,why,from,to` with scope `fo` (futures and options), `eq` (shares) or `all`; ISO dates, an empty `to` has no end.
Entries are refused by the gate; exits always pass.
"""

import csv
import re
from datetime import date, datetime
from pathlib import Path

import msgspec

from core.errors import ConfigError
from core.types import Instrument, Kind

_BAN = re.compile(r"^\s*Securities in Ban For Trade Date\s+(\d{1,2}-[A-Za-z]{3}-\d{4})\s*:?\s*(.*)$", re.IGNORECASE)
_COLUMNS = ["symbol", "scope", "why", "from", "to"]
_SCOPES = ("fo", "eq", "all")


class Restriction(msgspec.Struct, frozen=True):
    """One security on one list."""

    symbol: str
    scope: str
    why: str

    def covers(self, instrument: Instrument) -> bool:
        """Whether entries in this instrument are refused."""
        kind = "fo" if instrument.kind in (Kind.FUTURE, Kind.CALL, Kind.PUT) else "eq"
        return self.symbol == instrument.underlying and self.scope in (kind, "all")


def read(folder: Path, on: date) -> dict[str, list[Restriction]]:
    """What is restricted on `on`, by underlying; empty without the folder. ConfigError with file and line for what cannot be read."""
    found: dict[str, list[Restriction]] = {}
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); save it as UTF-8 text") from error
        for one in _ban(path, lines, on) if lines and _BAN.match(lines[0]) else _listed(path, lines, on):
            found.setdefault(one.symbol, []).append(one)
    return found


def _ban(path: Path, lines: list[str], on: date) -> list[Restriction]:
    head = _BAN.match(lines[0])
    assert head is not None
    try:
        day = datetime.strptime(head[1].title(), "%d-%b-%Y").date()  # noqa: DTZ007 - a bare date
    except ValueError:
        raise ConfigError(f"{path}:1: {head[1]!r} is no date; take the exchange's file as it is") from None
    if day != on:
        return []
    found = []
    for number, line in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in line.split(",")]
        if not any(cells):
            continue
        if len(cells) < 2 or not cells[0].isdecimal() or not cells[1]:
            raise ConfigError(f"{path}:{number}: expected NUMBER,SYMBOL, got {line!r}; take the exchange's file as it is")
        found.append(Restriction(cells[1].upper(), "fo", f"in the derivatives ban of {day} ({path.name})"))
    return found


def _listed(path: Path, lines: list[str], on: date) -> list[Restriction]:
    rows = csv.reader(lines)
    header = [cell.strip().lower() for cell in next(rows, [])]
    if header != _COLUMNS:
        raise ConfigError(
            f"{path}:1: expected the columns {','.join(_COLUMNS)} or the exchange's ban file, got {','.join(header) or 'nothing'}"
        )
    found = []
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        where = f"{path}:{rows.line_num}"
        if len(cells) != len(_COLUMNS) or not cells[0]:
            raise ConfigError(f"{where}: expected {len(_COLUMNS)} values, a symbol first, got {','.join(cells)!r}")
        symbol, scope, why, start, end = cells
        if scope.lower() not in _SCOPES:
            raise ConfigError(f"{where}: scope {scope!r} is none of {', '.join(_SCOPES)}")
        if _date(where, start) <= on and (not end or on <= _date(where, end)):
            found.append(Restriction(symbol.upper(), scope.lower(), f"{why or 'restricted'} ({path.name})"))
    return found


def _date(where: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no date; write it as YYYY-MM-DD") from None
