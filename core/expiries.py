"""Contract facts: expiry days with their holiday shifts, lots, freeze quantities and tick sizes, looked up in dated tables.

A broker's instrument dump wins over all of this wherever there is one; these tables serve history, resolution by date, and checks.
Rules apply to contracts *expiring* in [from, to]; a nominal day that is no trading day moves to the trading day before it.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from math import ceil, floor
from typing import Any

from core.errors import DataError
from core.types import Kind, Side

Facts = Mapping[str, Any]
FIRST_KNOWN = date(2020, 1, 1)
"""The files begin here; for earlier days the earliest version serves and is marked assumed."""
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_decimals: dict[float, int] = {}


def round_to_tick(price: float, tick: float, side: Side | None = None) -> float:
    """The price on the instrument's tick, free of float drift: towards the passive side of `side` (BUY down, SELL up), else nearest."""
    steps = price / tick
    whole = round(steps)
    if side is not None and abs(steps - whole) >= 1e-6:
        whole = floor(steps) if side is Side.BUY else ceil(steps)
    decimals = _decimals.get(tick)
    if decimals is None:
        decimals = _decimals[tick] = len(f"{tick:.6f}".rstrip("0").partition(".")[2])
    return round(whole * tick, decimals)


def floor_to_lot(quantity: int, lot: int) -> int:
    """The largest multiple of `lot` not above `quantity` (units)."""
    return quantity // lot * lot


def in_force(versions: Sequence[Facts], day: date) -> Facts | None:
    """The version whose [from, to] holds `day`; before 2020 the earliest one, if it begins the files; None in a gap."""
    day = max(day, FIRST_KNOWN)
    for version in versions:
        if version["from"] <= day and (version["to"] is None or day <= version["to"]):
            return version
    return None


class Contracts:
    """Expiries, lots, freeze quantities and tick sizes. `regular_day(segment, day)` says whether the whole regular session is held."""

    def __init__(self, facts: Facts, regular_day: Callable[[str, date], bool], leads: tuple[int, int] = (1, 2)) -> None:
        """`leads`: a future serves as the near month through so many trading days before its expiry, (an index's, a stock's)."""
        self._rules: Facts = facts["expiry_calendar"]["rules"]
        self._lots: Facts = facts["lots"]
        self._freeze: Sequence[Facts] = facts["freeze_qty"]["nse_index_observed"]
        self._ticks: Facts = facts["tick_size"]
        self._final: Sequence[Facts] = facts["risk_rules"]["settlement"]["final_price"]
        self._steps: Facts = facts["strike_steps"]["near_the_money"]
        self._regular_day = regular_day
        self._leads = leads
        self._early: dict[tuple[str, date], date] = {}  # (root, expiry) -> an earlier last day, chosen by open interest
        self._monthly: dict[tuple[str, int, int], date] = {}
        self.index_roots = frozenset(root for root in (*self._rules, *self._lots) if not root.endswith("STOCKS"))

    # --- expiries -------------------------------------------------------------------------------------------------------------

    def monthly_expiry(self, root: str, year: int, month: int, *, exchange: str = "NFO") -> date:
        """The day the month's contract of `root` (an index, or any stock of `exchange`) expires, holidays taken into account."""
        name = self._rule_name(root, exchange)
        key = (name, year, month)
        found = self._monthly.get(key)
        if found is None:
            last = (date(year, month, 28) + 4 * _DAY).replace(day=1) - _DAY
            nominal = [last - ((last.weekday() - rule["weekday"]) % 7) * _DAY for rule in self._rules[name]["monthly"]]
            chosen = self._applicable(self._rules[name]["monthly"], nominal)
            if chosen is None:
                raise DataError(
                    f"no monthly expiry rule for {root} in {year}-{month:02d}: config/market/contracts.yaml knows {name} only from "
                    f"{self._rules[name]['monthly'][0]['from']}"
                )
            found = self._monthly[key] = self._shifted(chosen)
        return found

    def expiries(self, root: str, start: date, end: date, *, exchange: str = "NFO") -> list[date]:
        """Every expiry of `root` in [start, end], weekly and monthly, ascending. In the week of a monthly there is no other weekly."""
        name = self._rule_name(root, exchange)
        found = set()
        monthly_weeks = set()
        year, month = start.year, start.month
        while (year, month) <= (end.year, end.month):
            try:
                expiry = self.monthly_expiry(root, year, month, exchange=exchange)
            except DataError:
                expiry = None  # the product did not exist yet
            if expiry is not None:
                found.add(expiry)
                monthly_weeks.add(_monday(expiry))
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        rules = self._rules[name].get("weekly", ())
        monday = _monday(start)
        while rules and monday <= end:
            chosen = self._applicable(rules, [monday + rule["weekday"] * _DAY for rule in rules])
            if chosen is not None and monday not in monthly_weeks:
                found.add(self._shifted(chosen))
            monday += _WEEK
        return sorted(day for day in found if start <= day <= end)

    def is_monthly(self, root: str, expiry: date, *, exchange: str = "NFO") -> bool:
        """Whether the contract expiring then is the month's (it decides the symbol's form), never told from the weekday alone."""
        return expiry == self.monthly_expiry(root, expiry.year, expiry.month, exchange=exchange)

    def future_expiry(self, root: str, day: date, months: int = 0, *, exchange: str = "NFO") -> date:
        """Expiry of the future that `ROOT_FUT` means on `day` (`months` = 1 for _NEXT): the near month through its roll day."""
        year, month = day.year, day.month
        while day > self.roll_day(root, self.monthly_expiry(root, year, month, exchange=exchange)):
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        month += months
        return self.monthly_expiry(root, year + (month - 1) // 12, (month - 1) % 12 + 1, exchange=exchange)

    def lead(self, root: str) -> int:
        """How many trading days before its expiry a future of `root` is the near month for the last time, at the latest."""
        return self._leads[0] if root in self.index_roots else self._leads[1]

    def roll_day(self, root: str, expiry: date) -> date:
        """The last day on which the future expiring then is the near month: `lead` trading days before, or earlier where open interest
        had moved on (`roll_early`)."""
        latest = self.back(expiry, self.lead(root))
        return min(latest, self._early.get((root, expiry), latest))

    def roll_early(self, root: str, expiry: date, day: date) -> None:
        """Make `day` the last one on which the future expiring then is the near month; what was chosen first stays."""
        self._early.setdefault((root, expiry), day)

    def chosen_like(self, other: "Contracts") -> None:
        """Take over the early roll days of `other`: the facts were read anew, the choices stay."""
        self._early = dict(other._early)

    def back(self, day: date, count: int) -> date:
        """The regular F&O trading day `count` of them before `day`."""
        for _ in range(count):
            day = self._shifted(day - _DAY)
        return day

    def final_price_rule(self, expiry: date) -> str:
        """How the final settlement price of contracts expiring then is made, and the status of that fact."""
        rule = in_force(self._final, expiry)
        return "not known" if rule is None else f"{rule['method']} ({rule.get('status', 'confirmed')})"

    # --- lots, freeze, ticks ---------------------------------------------------------------------------------------------------

    def lot(self, root: str, expiry: date, *, exchange: str = "NFO") -> int | None:
        """Units in one lot of the index contract expiring then; None where the tables do not say (stocks: ask the contract master)."""
        monthly = self.is_monthly(root, expiry, exchange=exchange) if root in self.index_roots and root in self._rules else True
        expiry = max(expiry, FIRST_KNOWN)
        for row in self._lots.get(root, ()) if root in self.index_roots else ():
            span = row["M" if monthly else "W"]
            if span is not None and span[0] <= expiry and (span[1] is None or expiry <= span[1]):
                return int(row["lot"])
        return None

    def freeze(self, underlying: str, day: date, lot: int = 1) -> int | None:
        """Largest quantity (units) of one order on `day`, floored to `lot`; None where no limit is known."""
        row = bisect_right([entry["from"] for entry in self._freeze], day)
        quantity = self._freeze[row - 1].get(underlying) if row else None
        return None if quantity is None else floor_to_lot(int(quantity), lot)

    def strike_step(self, root: str) -> float | None:
        """Rupees (points) between neighbouring strikes of an index near the money; None where only the instruments of a day say."""
        step = self._steps.get(root)
        return None if step is None else float(step)

    def tick_size(self, kind: Kind, underlying: str, level: float, day: date) -> float:
        """The price step (rupees) of an instrument at price or index level `level`; only where no instrument dump gives one."""
        if kind in (Kind.CALL, Kind.PUT):
            return float(self._ticks["options"]["all"])
        table = "nse_index_futures" if kind is Kind.FUTURE and underlying in self.index_roots else "nse_equity_and_stock_futures"
        version = in_force(self._ticks[table], day)
        if version is None:
            raise DataError(f"no tick size for {underlying} on {day}: add it to {table} in config/market/contracts.yaml")
        if "all" in version:
            return float(version["all"])
        bands = version.get("bands") or version["bands_by_index_level"]
        # NSE's limits belong to the band below them, except the first (below 250 rupees, below 15,000 points)
        return next(float(step) for low, high, step in bands if high is None or level < high or (low > 0 and level == high))

    # --- inside -----------------------------------------------------------------------------------------------------------------

    def _rule_name(self, root: str, exchange: str) -> str:
        if root in self._rules:
            return root
        if root in self.index_roots:
            raise DataError(f"no expiry rule for the index {root}: config/market/contracts.yaml has {', '.join(sorted(self._rules))}")
        return "BSE_STOCKS" if exchange == "BFO" else "NSE_STOCKS"

    @staticmethod
    def _applicable(rules: Sequence[Facts], nominal: Sequence[date]) -> date | None:
        """Of each rule's nominal day, the one its rule covers; the later rule where two meet in one week or month."""
        chosen = None
        for rule, day in zip(rules, nominal, strict=True):
            begins = date.min if rule["from"] == FIRST_KNOWN else rule["from"]
            if begins <= day and (rule["to"] is None or day <= rule["to"]):
                chosen = day
        return chosen

    def _shifted(self, day: date) -> date:
        while not self._regular_day("FO", day):
            day -= _DAY
        return day


def _monday(day: date) -> date:
    return day - day.weekday() * _DAY
