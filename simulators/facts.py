"""A small reader of config/market/*.yaml for the simulators: trading days, sessions, cut-offs, expiries, lots, ticks, freeze, rates.

It is written apart from the engine's own calendar on purpose: each is the other's check. Sources and status of every fact stand in
the YAML files. Before 2020 the earliest version holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

IST = timezone(timedelta(hours=5, minutes=30), "IST")
FAR = date(9999, 12, 31)
FULL_DAYS = frozenset({"budget_full_day", "saturday_full_day"})
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a segment's day, [start, end). `kind` is continuous, pre_open, auction or post_close; `name` the YAML's."""

    name: str
    kind: str
    start: datetime
    end: datetime
    order_types: tuple[str, ...] | None = None


def _kind(name: str) -> str | None:
    if name in {"continuous", "morning", "evening"}:
        return "continuous"
    if name.startswith(("pre_open", "buffer")):
        return "pre_open"
    if name.startswith("cas_"):
        return "auction"
    return None  # block deals and post-close trading are not simulated


def _clock(text: str) -> time:
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


def version_at(versions: Sequence[Record], day: date) -> Record:
    """The record whose [from, to] holds `day`; the earliest one for days before all of them."""
    for record in versions:
        if record["from"] <= day <= (record["to"] or FAR):
            return record
    return versions[0]


@cache
def _read(path: Path) -> Record:
    loaded: Record = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe loaders both
    return loaded


class Facts:
    """Dated market facts; `Facts.load()` reads config/market of this repository."""

    def __init__(self, folder: Path) -> None:
        self.holidays = _read(folder / "holidays.yaml")
        self.sessions = _read(folder / "sessions.yaml")
        self.contracts = _read(folder / "contracts.yaml")
        self.charges = _read(folder / "charges.yaml")
        assumed = folder / "assumed.yaml"
        self.assumed: Record = _read(assumed) if assumed.exists() else {}
        equity = self.holidays["equity"]
        self._closed = {row["d"] for year in equity["closed"].values() for row in year}
        self._closed |= {row["d"] for year in equity["provisional"].values() for row in year}
        self._special: dict[date, Record] = {row["d"]: row for row in self.holidays["special_sessions"]}

    @classmethod
    def load(cls, folder: Path | None = None) -> "Facts":
        return cls(folder or Path(__file__).resolve().parent.parent / "config" / "market")

    # --- days ---------------------------------------------------------------------------------------------------------------------
    def trading_day(self, day: date) -> bool:
        """Is there a session of the equity segments whose clock times are known?"""
        special = self._special.get(day)
        if special is not None:
            return special["sessions"] is not None
        return day.weekday() < 5 and day not in self._closed

    def days_from(self, day: date) -> Iterator[date]:
        """Trading days from `day` (itself included), without end."""
        while True:
            if self.trading_day(day):
                yield day
            day += timedelta(days=1)

    def next_day(self, day: date) -> date:
        return next(self.days_from(day + timedelta(days=1)))

    def previous_day(self, day: date) -> date:
        day -= timedelta(days=1)
        while not self.trading_day(day):
            day -= timedelta(days=1)
        return day

    # --- sessions -----------------------------------------------------------------------------------------------------------------
    def segment(self, exchange: str, is_fno: bool, day: date) -> str:
        """The session class of sessions.yaml: EQ_CAS, EQ_NONCAS, FO, CDS or MCX."""
        if exchange in {"NSE", "BSE"}:
            return "EQ_CAS" if is_fno and day >= self.sessions["segments"]["EQ_CAS"]["versions"][0]["from"] else "EQ_NONCAS"
        return {"NFO": "FO", "BFO": "FO", "CDS": "CDS", "BCD": "CDS"}.get(exchange, "MCX")

    @lru_cache(maxsize=256)  # noqa: B019 - one Facts lives as long as the process
    def phases(self, segment: str, day: date) -> tuple[Phase, ...]:
        """The simulated phases of one session class on one trading day, in order of time; empty on other days."""
        if not self.trading_day(day):
            return ()
        special = self._special.get(day)
        if special is not None and special["kind"] not in FULL_DAYS:
            return self._special_phases(special, day)
        rows = list(version_at(self.sessions["segments"][segment]["versions"], day)["phases"])
        if segment == "EQ_CAS":  # the file leaves the pre-open of both cash classes in one place
            others = version_at(self.sessions["segments"]["EQ_NONCAS"]["versions"], day)["phases"]
            rows = [row for row in others if _kind(row["name"]) == "pre_open"] + rows
        phases = []
        for row in rows:
            kind = _kind(row["name"])
            if kind is None:
                continue
            end = "23:30" if row["end"] == "DST_RULE" else row["end"]
            types = tuple(row["order_types"]) if "order_types" in row else None
            phases.append(Phase(row["name"], kind, self._at(day, row["start"]), self._at(day, end), types))
        return tuple(sorted(phases, key=lambda phase: phase.start))

    def _special_phases(self, special: Record, day: date) -> tuple[Phase, ...]:
        phases = [Phase("continuous", "continuous", self._at(day, start), self._at(day, end)) for start, end in special["sessions"]]
        if special.get("pre_open"):
            start, end = special["pre_open"]
            phases.insert(0, Phase("pre_open_entry", "pre_open", self._at(day, start), self._at(day, end)))
        return tuple(phases)

    def _at(self, day: date, text: str) -> datetime:
        return datetime.combine(day, _clock(text), IST)

    def continuous(self, segment: str, day: date) -> tuple[tuple[datetime, datetime], ...]:
        return tuple((phase.start, phase.end) for phase in self.phases(segment, day) if phase.kind == "continuous")

    def auction_at(self, segment: str, day: date, kind: str) -> datetime | None:
        """When the single price of the pre-open ("pre_open") or closing ("auction") session prints; None where there is none."""
        phases = [phase for phase in self.phases(segment, day) if phase.kind == kind]
        if not phases:
            return None
        for phase in phases:
            if phase.name.endswith("_match"):
                return phase.start + timedelta(seconds=30)
        return phases[-1].end - timedelta(seconds=30)

    def expiring_index_stop(self, day: date) -> datetime | None:
        """When index contracts that expire on this day stop trading, where that is before the others do."""
        text = version_at(self.sessions["segments"]["FO"]["versions"], day).get("expiring_index_contracts_stop")
        return self._at(day, text) if text else None

    def close_window(self, segment: str, day: date) -> tuple[datetime, datetime] | None:
        """The window whose volume-weighted price is the official close; None where the last (auction) price is."""
        rule = version_at(self.sessions["segments"][segment]["versions"], day).get("close_price", {})
        if rule.get("method") != "vwap" or day in self._special:
            return None
        start, end = rule["window"]
        return self._at(day, start), self._at(day, end)

    def cut_off(self, broker: str, segment: str, day: date) -> datetime | None:
        """When this broker squares off intraday positions; None where no time is known. A muhurat session has none of its own."""
        special = self._special.get(day)
        if special is not None and special["kind"] in {"muhurat", "dr_switch"}:
            return None
        for source in (self.sessions.get("mis_squareoff", {}), self.assumed.get("mis_squareoff", {})):
            versions = source.get(broker, {}).get("versions")
            if not versions:
                continue
            record = version_at(versions, day)
            if not record["from"] <= day <= (record["to"] or FAR) and day >= versions[0]["from"]:
                continue
            value = record.get(segment) or (record.get("EQ") if segment.startswith("EQ") else None)
            if isinstance(value, str) and value[:2].isdigit():
                return self._at(day, value)
        return None

    # --- contracts ----------------------------------------------------------------------------------------------------------------
    def _expiry_rules(self, root: str, kind: str) -> Sequence[Record]:
        rules = self.contracts["expiry_calendar"]["rules"]
        found: Sequence[Record] = rules.get(root, rules["NSE_STOCKS"]).get(kind, ())
        return found

    def _moved(self, day: date) -> date:
        """The day itself if it has a regular session (a muhurat hour is none), else the last one before that has."""
        while day in self._closed or not self.trading_day(day) or self._is_short(day):
            day -= timedelta(days=1)
        return day

    def _is_short(self, day: date) -> bool:
        special = self._special.get(day)
        return special is not None and special["kind"] not in FULL_DAYS

    def monthly_expiry(self, root: str, year: int, month: int) -> date:
        """The month's expiry of this root: its last rule weekday, moved to the previous trading day on a holiday."""
        last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
        weekday = version_at(self._expiry_rules(root, "monthly"), last)["weekday"]
        return self._moved(last - timedelta(days=(last.weekday() - weekday) % 7))

    def monthly_expiries(self, root: str, day: date, count: int) -> list[date]:
        """The next `count` monthly expiries not before `day`."""
        found: list[date] = []
        year, month = day.year, day.month
        while len(found) < count:
            expiry = self.monthly_expiry(root, year, month)
            if expiry >= day:
                found.append(expiry)
            year, month = year + month // 12, month % 12 + 1
        return found

    def in_pre_open(self, kind: str, root: str, expiry: date | None, day: date) -> bool:
        """Cash shares are in the opening auction; of derivatives this month's futures, and the next month's in its last five days."""
        if kind == "EQ":
            return True
        if kind != "FUT" or expiry is None or self.auction_at("FO", day, "pre_open") is None:
            return False
        near, following = self.monthly_expiries(root, day, 2)
        return expiry == near or (expiry == following and near <= list(islice(self.days_from(day), 5))[-1])

    def weekly_expiry(self, root: str, day: date) -> date | None:
        """The next weekly expiry not before `day`, unless that week's is the monthly one's date; None for roots without weeklies."""
        rules = self._expiry_rules(root, "weekly")
        if not rules:
            return None
        nominal = day
        for _ in range(3):
            rule = version_at(rules, nominal)
            if nominal > (rule["to"] or FAR):
                return None
            candidate = nominal + timedelta(days=(rule["weekday"] - nominal.weekday()) % 7)
            moved = self._moved(candidate)
            if moved >= day and moved != self.monthly_expiry(root, moved.year, moved.month):
                return moved
            nominal = candidate + timedelta(days=1)
        return None

    def lot(self, root: str, expiry: date, *, weekly: bool = False) -> int | None:
        """Lot of an index contract by its expiry; None where the file has none (stocks)."""
        for row in self.contracts["lots"].get(root, ()):
            span = row["W" if weekly else "M"]
            if span and _as_date(span[0]) <= expiry <= (_as_date(span[1]) if span[1] else FAR):
                return int(row["lot"])
        return None

    def freeze(self, root: str, day: date) -> int | None:
        """Largest quantity of one order in an index contract, in units (not yet floored to lots); None where unknown."""
        found: int | None = None
        for row in self.contracts["freeze_qty"]["nse_index_observed"]:
            if row["from"] <= day and root in row:
                found = int(row[root])
        return found

    def tick_size(self, group: str, price: float, day: date) -> float:
        """Tick by price band. `group`: nse_equity_and_stock_futures (stock's price), nse_index_futures (index level) or options."""
        table = self.contracts["tick_size"][group]
        if group == "options":
            return float(table["all"])
        record = version_at(table, day)
        if "all" in record:
            return float(record["all"])
        for low, high, tick in record.get("bands") or record["bands_by_index_level"]:
            if price > low and (high is None or price <= high):
                return float(tick)
        return 0.05


def _as_date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))
