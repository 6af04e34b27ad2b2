"""The market's calendar: when each instrument trades, until when a broker lets intraday positions live, and when we must be flat.

Pure functions of given data (config/market/*.yaml, loaded by utils/config_loader.py); it reads no clock and no file. Nothing here is
one `market_close`: hours depend on (exchange, whether the stock has derivatives, date), and cut-offs on the broker as well.

What beats what: overrides.yaml, then the facts files, then (practice and backtests only) assumed.yaml. A null time is not known, and
what is not known is refused or flattened early, never guessed. Before 2020 the earliest version serves and is marked assumed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as TimeOfDay
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from core.errors import ConfigError
from core.expiries import FIRST_KNOWN, Contracts, Facts, in_force
from core.types import IST, SEGMENTS, Instrument, Kind

_NEW_YORK = ZoneInfo("America/New_York")
_DAY = timedelta(days=1)
_EXCHANGES = {"EQ": ("NSE", "BSE"), "FO": ("NFO", "BFO"), "CDS": ("CDS", "BCD"), "MCX": ("MCX", "NCO")}
_HALTED_WITH = {"NSE": ("NSE", "NFO"), "BSE": ("BSE", "BFO"), "MCX": ("MCX",)}
_KINDS = (
    ("pre_open", "pre_open"),
    ("buffer", "pre_open"),
    ("continuous", "continuous"),
    ("morning", "continuous"),
    ("evening", "continuous"),
    ("cas_", "auction"),
    ("close_price", "closing"),
    ("post_close", "post_close"),
    ("block_deal", "block_deal"),
    ("order_cancel", "cancel_only"),
)
_SQUARE_OFF = TimeOfDay(15, 20)
_UNKNOWN_CUT_OFF = TimeOfDay(15, 0)
_KNOWN_STATUSES = ("confirmed", "single_source")


class Phase(msgspec.Struct, frozen=True):
    """One stretch of a day. `name` is ours (pre_open, continuous, auction, closing, post_close, block_deal, cancel_only), `detail` the
    exchange's; `order_types` is what it takes then (None: nothing is said, () = no order entry). `end` is exclusive."""

    name: str
    start: datetime
    end: datetime
    detail: str
    order_types: tuple[str, ...] | None = None


class CutOff(msgspec.Struct, frozen=True):
    """When the broker itself closes intraday positions. `status`: confirmed, single_source, assumed, unknown (nobody can say; `at` is
    None) or none (this broker has no cut-off here; `at` is None)."""

    at: datetime | None
    status: str
    source: str = ""


class SquareOffSettings(msgspec.Struct, frozen=True):
    """The configured part of the square-off rule. `time` is for equity and F&O; commodity and currency have none unless given."""

    time: TimeOfDay | None = _SQUARE_OFF
    lead_minutes: int = 6
    commodity_time: TimeOfDay | None = None
    currency_time: TimeOfDay | None = None
    entries_minutes: int = 15
    page_minutes: int = 2
    unknown_time: TimeOfDay = _UNKNOWN_CUT_OFF


class SquareOffPlan(msgspec.Struct, frozen=True):
    """When intraday positions of one (broker, segment, is_fno, date) are closed. Entries stop at `entries_stop`; exits start at `start`;
    a person is paged if not flat at `page_at`; `deadline` is the broker's cut-off or, without one, the end of trading; exits are retried
    until `closes`. `known` False: the cut-off is not known, and live intraday entries are refused."""

    start: datetime
    entries_stop: datetime
    page_at: datetime
    deadline: datetime
    closes: datetime
    known: bool
    cut_off: CutOff


class Observed(msgspec.Struct, frozen=True):
    """A session as data shows it: EQ, FO, CDS or MCX, the day, and its hours as HH:MM."""

    segment: str
    day: date
    opens: str
    closes: str


class Calendar:
    """Sessions, holidays, cut-offs and contract facts. `facts` holds the parsed files by name: holidays, sessions, contracts, and
    optionally overrides (the operator's) and assumed (given only for practice kinds and backtests)."""

    def __init__(self, facts: Mapping[str, Facts], roll_leads: tuple[int, int] = (1, 2)) -> None:
        """`roll_leads` are Contracts' `leads`."""
        self.as_of: date = facts["sessions"]["as_of"]
        overrides, assumed = facts.get("overrides") or {}, facts.get("assumed") or {}
        self._read_holidays(facts["holidays"], overrides)
        self._read_sessions(facts["sessions"], overrides, assumed)
        self.contracts = Contracts(facts["contracts"], self.regular_day, roll_leads)
        self.monthly_expiry = self.contracts.monthly_expiry  # the same questions may be asked of the calendar itself
        self.future_expiry = self.contracts.future_expiry
        self.freeze = self.contracts.freeze
        self.tick_size = self.contracts.tick_size
        self._phases: dict[tuple[str, str, date], tuple[Phase, ...]] = {}
        self._continuous: dict[tuple[str, str, date], tuple[tuple[datetime, datetime], ...]] = {}

    def become(self, other: "Calendar") -> None:
        """Take over all of `other`, for everybody who holds this calendar. One assignment: another thread sees the old facts or the new."""
        other.contracts.chosen_like(self.contracts)
        self.__dict__ = dict(other.__dict__)

    def observe(self, sessions: Iterable[Observed]) -> None:
        """Take sessions that recorded data shows on days before 2020 on which the facts have none: a Saturday's, an evening's."""
        for one in sessions:
            if one.day < FIRST_KNOWN and not self.trading_day(one.segment, one.day):
                facts = {"d": one.day, "kind": "observed", "segments": [one.segment], "origin": "overrides"}
                self._special[one.segment, one.day] = {**facts, "sessions": [[one.opens, one.closes]]}
        self._phases, self._continuous = {}, {}

    # --- days -----------------------------------------------------------------------------------------------------------------

    def trading_day(self, segment: str, day: date) -> bool:
        """Whether `segment` (EQ, FO, CDS, MCX) trades at all on `day`, special sessions with known times included."""
        return bool(self._windows((_EXCHANGES[segment][0], "", day)))

    def regular_day(self, segment: str, day: date) -> bool:
        """Whether the regular session is held (a muhurat or a DR Saturday is none): what expiries and rolls count by."""
        if (segment, day) in self._open:
            return True
        if (segment, day) in self._shut:
            return False
        special = self._special.get((segment, day))
        if special is not None and special["kind"].endswith("full_day"):
            return True
        if day.weekday() >= 5:
            return False
        if segment == "MCX" and day.year in self._mcx_years:
            return self._mcx.get(day) != "F"
        return day not in self._holidays and not (segment == "CDS" and day in self._settlement_only)

    def status(self, day: date) -> str:
        """How far the day's calendar can be trusted: confirmed, provisional (live trading is refused) or assumed (before 2020)."""
        if day < FIRST_KNOWN:
            return "assumed"
        return "confirmed" if day.year in self._confirmed_years else "provisional"

    @property
    def holidays_until(self) -> int:
        """The last year of which holidays are listed, confirmed or provisional."""
        return max(int(day.year) for day in self._holidays)

    def notes(self, day: date) -> tuple[str, ...]:
        """What a person should know before trading on `day`: provisional lists, special sessions, hours with a single source."""
        found = []
        if self.status(day) != "confirmed":
            found.append(
                f"the holiday list of {day.year} is {self.status(day)}: check the exchange's circular, then add {day.year} to "
                "confirmed_years in config/market/overrides.yaml"
            )
        for (segment, when), special in self._special.items():
            if when == day and not special.get("sessions"):
                found.append(
                    f"{special['kind']} session on {day} in {segment}: its times are not known, so it is not traded; give them in "
                    "special_sessions of config/market/overrides.yaml"
                )
            elif when == day:
                found.append(f"{special['kind']} session on {day} in {segment}: {special['sessions']}")
        for name, versions in self._segments.items():
            version = in_force(versions, day)
            if version is not None and version.get("status", "confirmed") != "confirmed" and self.trading_day(name.partition("_")[0], day):
                found.append(f"the {name} hours from {version['from']} are {version['status']}")
        return tuple(found)

    def next_trading_day(self, day: date, segment: str = "FO") -> date:
        """The first day after `day` on which `segment` trades."""
        day += _DAY
        while not self.trading_day(segment, day):
            day += _DAY
        return day

    def previous_trading_day(self, day: date, segment: str = "FO") -> date:
        """The last day before `day` on which `segment` traded."""
        day -= _DAY
        while not self.trading_day(segment, day):
            day -= _DAY
        return day

    def day_bounds(self, day: date, segments: Iterable[str] = ("EQ", "FO")) -> tuple[datetime, datetime] | None:
        """(start of the first phase, end of the last) over `segments`; None when none of them trades."""
        keys = [(_EXCHANGES[segment][0], variant, day) for segment in segments for variant in (("", "cas") if segment == "EQ" else ("",))]
        phases = [phase for key in keys for phase in self._day(key)]
        return (min(phase.start for phase in phases), max(phase.end for phase in phases)) if phases else None

    # --- hours ----------------------------------------------------------------------------------------------------------------

    def phases(self, instrument: Instrument, day: date) -> tuple[Phase, ...]:
        """The day's phases for this instrument, by start; () when it does not trade."""
        return self._day(self._key(instrument, day))

    def phase(self, instrument: Instrument, at: datetime) -> str:
        """The name of the phase at `at`, `closed` outside all. Continuous trading wins over the block deal window inside it."""
        at = _in_ist(at)
        key = self._key(instrument, at.date())
        for start, end in self._windows(key):
            if start <= at < end:
                return "continuous"
        return next((phase.name for phase in self._day(key) if phase.start <= at < phase.end), "closed")

    def continuous(self, instrument: Instrument, day: date) -> tuple[tuple[datetime, datetime], ...]:
        """The windows [start, end) of continuous trading on `day`, adjoining ones joined."""
        return self._windows(self._key(instrument, day))

    def is_open(self, instrument: Instrument, at: datetime) -> bool:
        """Whether continuous trading is on at `at`."""
        if at.tzinfo is not IST:
            at = _in_ist(at)
        for start, end in self._windows(self._key(instrument, at.date())):  # noqa: SIM110 - asked for each tick of a protected position
            if start <= at < end:
                return True
        return False

    # --- cut-offs and the square-off ------------------------------------------------------------------------------------------------

    def cut_off(self, broker: str, instrument: Instrument, day: date) -> CutOff:
        """When `broker` closes intraday positions of this instrument by itself. Regular-day times are not applied to a special session."""
        windows = self.continuous(instrument, day)
        if not windows:
            return CutOff(None, "unknown", f"no session on {day}")
        segment = instrument.segment
        special = self._special_of(segment, day)
        names: tuple[str, ...] = (segment,)
        if segment == "EQ":
            names = ("EQ_CAS" if self._is_cas(instrument, day) else "EQ_NONCAS", "EQ")
        for origin, versions in self._cut_offs.get(broker, ()):
            for version in versions:
                if special is not None and not version["from"] == version["to"] == day:
                    continue
                if in_force((version,), day) is None:
                    continue
                value = next((version[name] for name in names if version.get(name) is not None), None)
                if value is not None:
                    return self._read_cut_off(value, version, origin, day, windows[-1][1])
        return CutOff(None, "unknown", f"{broker} {names[0]} on {day}: give it in mis_squareoff of config/market/overrides.yaml")

    def square_off(self, broker: str, instrument: Instrument, day: date, settings: SquareOffSettings) -> SquareOffPlan | None:
        """The one square-off rule; None when the instrument does not trade on `day`.

        Exits start at the earliest of the configured time, the broker's cut-off less the lead, and the end of continuous trading less
        the lead; with an unknown cut-off also `unknown_time`. A time before the day's first session (an evening muhurat) does not apply.
        """
        windows = self.continuous(instrument, day)
        if not windows:
            return None
        opens, closes = windows[0][0], windows[-1][1]
        lead = timedelta(minutes=settings.lead_minutes)
        cut_off = self.cut_off(broker, instrument, day)
        known = cut_off.status != "unknown"
        configured = {"MCX": settings.commodity_time, "CDS": settings.currency_time}.get(instrument.segment, settings.time)
        clock_times = [configured, None if known else settings.unknown_time]
        moments = [_at(day, moment) for moment in clock_times if moment is not None]
        if cut_off.at is not None:
            moments.append(cut_off.at - lead)
        start = min([closes - lead, *(moment for moment in moments if moment > opens)])
        deadline = min(closes, cut_off.at) if cut_off.at is not None else closes
        page = timedelta(minutes=settings.page_minutes)
        page_at = deadline - page if known else start + lead - page
        return SquareOffPlan(start, start - timedelta(minutes=settings.entries_minutes), page_at, deadline, closes, known, cut_off)

    # --- reading the facts ------------------------------------------------------------------------------------------------------------

    def _read_holidays(self, facts: Facts, overrides: Facts) -> None:
        equity = facts["equity"]
        self._holidays = {row["d"]: row["n"] for group in ("closed", "provisional") for rows in equity[group].values() for row in rows}
        self._confirmed_years = frozenset(equity["closed"]) | frozenset(overrides.get("confirmed_years") or ())
        self._settlement_only = frozenset(day for entry in facts["settlement_only"].values() for day in entry["dates"])
        self._mcx = {day: code for year, entry in facts["mcx"].items() if isinstance(year, int) for day, code in entry["days"].items()}
        self._mcx_years = frozenset(year for year in facts["mcx"] if isinstance(year, int))
        self._shut = _by_segment(overrides.get("closed"))
        self._open = _by_segment(overrides.get("open"))
        self._special: dict[tuple[str, date], Facts] = {}
        for origin, rows in (("facts", facts["special_sessions"]), ("overrides", overrides.get("special_sessions") or ())):
            for row in rows:
                for name in row["segments"]:
                    segment = SEGMENTS.get(name, name)
                    sessions = row.get("sessions_by_segment", {}).get(segment, row["sessions"])
                    full = row["kind"].endswith("full_day") and sessions is row["sessions"]
                    kind = row["kind"] if full else row["kind"].removesuffix("_full_day")
                    self._special[segment, row["d"]] = {**row, "kind": kind, "sessions": sessions, "origin": origin}
        self._interruptions = [
            (exchange, row["d"], row["halted"], row.get("close"))
            for row in facts["interruptions"]
            for exchange in _HALTED_WITH[row["exchange"]]
        ]

    def _read_sessions(self, facts: Facts, overrides: Facts, assumed: Facts) -> None:
        changed = overrides.get("segments") or {}
        self._segments: dict[str, Sequence[Facts]] = {
            name: (*changed.get(name, {}).get("versions", ()), *entry["versions"]) for name, entry in facts["segments"].items()
        }
        mcx = facts["segments"]["MCX"]
        self._mcx_class = {root: name for name in mcx["class_close"] for root in mcx["class_roots"][name]}
        self._mcx_close = {name: _clock(value) for name, value in mcx["class_close"].items()}
        self._cut_offs: dict[str, list[tuple[str, Sequence[Facts]]]] = {}
        given, guessed = overrides.get("mis_squareoff") or {}, assumed.get("mis_squareoff") or {}
        published = {broker: entry["versions"] for broker, entry in facts["mis_squareoff"].items() if "versions" in entry}
        for broker in {*published, *given, *guessed}:
            rows = published.get(broker, ())
            known = [row for row in rows if row.get("status", "confirmed") in _KNOWN_STATUSES]
            sources = [("overrides", given.get(broker, {}).get("versions", ())), ("facts", known)]
            if assumed:
                sources += [
                    ("assumed", guessed.get(broker, {}).get("versions", ())),
                    ("assumed", [row for row in rows if row not in known]),
                ]
            self._cut_offs[broker] = sources

    def _read_cut_off(self, value: str, version: Facts, origin: str, day: date, closes: datetime) -> CutOff:
        status = "assumed" if origin == "assumed" or day < FIRST_KNOWN else version.get("status", "confirmed")
        source = f"{origin}: {version.get('src') or version.get('note', '')}"
        if value == "none":
            return CutOff(None, "none", source)
        if relative := re.match(r"close-(\d+)m\b", value):
            return CutOff(closes - timedelta(minutes=int(relative[1])), status, source)
        return CutOff(_at(day, _clock(value)), status, source)

    # --- building a day -----------------------------------------------------------------------------------------------------------------

    def _is_cas(self, instrument: Instrument, day: date) -> bool:
        cash = instrument.is_fno or instrument.kind is Kind.INDEX
        return cash and day >= FIRST_KNOWN and in_force(self._segments["EQ_CAS"], day) is not None

    def _key(self, instrument: Instrument, day: date) -> tuple[str, str, date]:
        """What a day's hours depend on: the exchange, the variant (closing auction, expiring index contract, commodity class), the date."""
        exchange = instrument.exchange
        variant = ""
        if exchange in ("NSE", "BSE"):
            if instrument.is_fno or instrument.kind is Kind.INDEX:
                variant = "cas"
        elif instrument.expiry == day and instrument.underlying in self.contracts.index_roots:
            variant = "expiring"
        elif exchange in ("MCX", "NCO"):
            variant = self._mcx_class.get(instrument.underlying, "")
        return exchange, variant, day

    def _windows(self, key: tuple[str, str, date]) -> tuple[tuple[datetime, datetime], ...]:
        known = self._continuous  # held before any fact is read: what old facts say never enters the store of new ones (`become`)
        found = known.get(key)
        if found is None:
            joined: list[tuple[datetime, datetime]] = []
            for phase in self._day(key):
                if phase.name != "continuous":
                    continue
                if joined and joined[-1][1] == phase.start:
                    joined[-1] = (joined[-1][0], phase.end)
                else:
                    joined.append((phase.start, phase.end))
            found = known[key] = tuple(joined)
        return found

    def _day(self, key: tuple[str, str, date]) -> tuple[Phase, ...]:
        known = self._phases
        found = known.get(key)
        if found is None:
            exchange, variant, day = key
            special = self._special_of(SEGMENTS[exchange], day)
            if special is not None:
                rows = [("pre_open_entry", *special["pre_open"], None)] if special.get("pre_open") else []
                rows += [("continuous", *session, None) for session in special["sessions"] or ()]
            elif self.regular_day(SEGMENTS[exchange], day):
                rows = self._regular_rows(SEGMENTS[exchange], variant, day)
            else:
                rows = []
            phases = [Phase(_kind(name), _at(day, _clock(start)), _at(day, _clock(end)), name, types) for name, start, end, types in rows]
            for halted_exchange, halted_day, halted, close in self._interruptions:
                if (halted_exchange, halted_day) == (exchange, day):
                    phases = _interrupted(phases, [_at(day, _clock(moment)) for moment in halted], close and _at(day, _clock(close)))
            found = known[key] = tuple(sorted(phases, key=lambda phase: phase.start))
        return found

    def _special_of(self, segment: str, day: date) -> Facts | None:
        """The special session that replaces the day's hours; one from the facts yields to a regular session held the same day."""
        special = self._special.get((segment, day))
        if special is None or special["kind"].endswith("full_day"):
            return None
        return None if special["origin"] == "facts" and self.regular_day(segment, day) else special

    def _regular_rows(self, segment: str, variant: str, day: date) -> list[tuple[str, str, str, tuple[str, ...] | None]]:
        name = {"EQ": "EQ_NONCAS"}.get(segment, segment)
        version = in_force(self._segments[name], day)
        if version is None:
            return []
        phases = version["phases"]
        auction = in_force(self._segments["EQ_CAS"], day) if variant == "cas" and day >= FIRST_KNOWN else None
        if auction is not None:  # what comes before continuous trading is the same for all cash securities
            opening = min(row["start"] for row in auction["phases"])
            phases = [*(row for row in phases if row["end"] <= opening), *auction["phases"]]
        stop = "24:00"
        if variant == "expiring":
            stop = version.get("expiring_index_contracts_stop", stop)
        elif segment == "MCX":
            dropped = {"M": ("morning", "order_cancel_only"), "E": ("evening",)}.get(self._mcx.get(day, ""), ())
            phases = [row for row in phases if row["name"] not in dropped]
            if variant:
                stop = f"{self._mcx_close[variant]:%H:%M}"
        rows = []
        for row in phases:
            end = min(_commodity_close(day) if row["end"] == "DST_RULE" else row["end"], stop)
            if row["start"] < end:
                types = tuple(row["order_types"]) if "order_types" in row else None
                rows.append((row["name"], row["start"], end, types))
        return rows


def _kind(detail: str) -> str:
    return next((kind for prefix, kind in _KINDS if detail.startswith(prefix)), detail)


def _clock(value: Any) -> TimeOfDay:
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ConfigError(f'a time of the market files must be quoted "HH:MM" (IST), got {value!r}; correct it in config/market/')
    return TimeOfDay.fromisoformat(value)


def _at(day: date, moment: TimeOfDay) -> datetime:
    return datetime.combine(day, moment, IST)


def _in_ist(at: datetime) -> datetime:
    if at.tzinfo is IST:
        return at
    if at.tzinfo is None:
        raise ValueError(f"the calendar needs an aware time, got the naive {at!r}")
    return at.astimezone(IST)


def _commodity_close(day: date) -> str:
    """Non-agricultural commodities trade until 23:30 IST while the US has daylight saving time, else until 23:55."""
    return "23:30" if datetime.combine(day, TimeOfDay(18), IST).astimezone(_NEW_YORK).dst() else "23:55"


def _by_segment(rows: Iterable[Facts] | None) -> frozenset[tuple[str, date]]:
    return frozenset((SEGMENTS.get(name, name), row["d"]) for row in rows or () for name in row["segments"])


def _interrupted(phases: list[Phase], halted: Sequence[datetime], close: datetime | None) -> list[Phase]:
    """The day with a halt cut out of continuous trading, and trading extended to `close` where the exchange did so."""
    regular = max((phase.end for phase in phases if phase.name == "continuous"), default=None)
    result = []
    for phase in phases:
        if phase.name != "continuous":
            if close is None or regular is None or phase.start < regular:
                result.append(phase)
            continue
        end = close if close is not None and phase.end == regular else phase.end
        for start, stop in ((phase.start, min(end, halted[0])), (max(phase.start, halted[1]), end)):
            if start < stop:
                result.append(Phase(phase.name, start, stop, phase.detail, phase.order_types))
    return result
