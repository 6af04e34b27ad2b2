"""What a trade costs: brokerage, taxes and fees of one executed order, by the rates in force on the trade date.

All rates come from config/market/charges.yaml. Per-order estimates stay unrounded (brokers' calculators do the same); the day's contract
note rounds as exchanges prescribe. Before a table's first date its earliest version serves, marked `assumed`. A rate that the file does
not have, or has only in words, is refused: a cost is never guessed.

turnover = quantity x price (the premium for options), in rupees; gst = 18 % of brokerage, exchange charge and (from its date) SEBI fee.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from core.errors import ConfigError
from core.types import Horizon, Instrument, Kind, Side

CRORE = 10_000_000.0
LINES = ("brokerage", "stt", "txn", "sebi", "stamp", "gst")
"""The lines in which our charges are held against a broker's; `txn` is all that the exchange takes, with its investor protection fund."""
_WHERE = "config/market/charges.yaml"
_EXCHANGES = {"NSE": "NSE", "NFO": "NSE", "CDS": "NSE", "BSE": "BSE", "BFO": "BSE", "BCD": "BSE", "MCX": "MCX", "NCO": "MCX"}
_TAXES = {"commodity_futures": "ctt_futures_non_agri", "commodity_options": "ctt_options"}
_BSE_INDEX_OPTIONS = ("SENSEX", "BANKEX")
_BY_UNDERLYING = ("BFO", "MCX", "NCO")  # where the underlying decides a rate
Formula = Callable[[float], float]


class Breakdown(msgspec.Struct, frozen=True, gc=False):
    """Charges in rupees, unrounded. `stt` is the securities or commodities transaction tax; `assumed` says that a rate was earlier than
    its table."""

    brokerage: float
    stt: float
    txn: float
    ipft: float
    sebi: float
    stamp: float
    gst: float
    total: float
    assumed: bool = False


class Rates(msgspec.Struct, frozen=True):
    """The rates of one kind of order on one day; all but `brokerage` are fractions of the turnover, `per_lot` is rupees."""

    brokerage: Formula
    per_lot: float
    stt: float
    txn: float
    ipft: float
    sebi: float
    stamp: float
    gst: float
    sebi_taxed: bool
    ipft_taxed: bool
    assumed: bool


class Term(msgspec.Struct, frozen=True):
    """One rate as the file has it: a fraction of the turnover; for brokerage also rupees, or a formula of the turnover T, and rupees for
    each lot where `per_lot`. `row` is the dated row it stands in; `assumed`: that row begins only after the day."""

    rate: float | str
    row: Mapping[str, Any]
    assumed: bool = False
    per_lot: bool = False


class Executed(msgspec.Struct, frozen=True):
    """One executed order, as the contract note takes it: units and rupees of value (quantity x price x multiplier, summed)."""

    instrument: Instrument
    horizon: Horizon
    side: Side
    quantity: int
    value: float


class Charges:
    """The charges of one broker (and plan, where it sells several). `facts` is the parsed charges.yaml."""

    def __init__(self, facts: Mapping[str, Any], broker: str, plan: str | None = None) -> None:
        self._statutory = facts["statutory"]
        versions = facts["brokers"].get(broker)
        if versions is None:
            raise ConfigError(f"{_WHERE} has no brokerage plan of {broker!r}; it has {', '.join(facts['brokers'])}")
        plans = sorted({version["plan"] for version in versions if "plan" in version})
        if plans and plan not in plans:
            got = f", not {plan!r}" if plan else ""
            raise ConfigError(f"{broker} sells several brokerage plans: choose one of {', '.join(plans)}{got}")
        self.broker = broker
        self._plans = [version for version in versions if version.get("plan") == plan]
        self._told = facts.get("told", {}).get(broker)
        self._rates: dict[tuple[Kind, Horizon, str, str, Side, date], Rates] = {}

    def order_charges(
        self, instrument: Instrument, horizon: Horizon, side: Side, trades: Sequence[tuple[int, float]], day: date
    ) -> Breakdown:
        """All charges of one order with these executions (quantity, price): the order so far, since brokerage is per order."""
        units, worth = 0, 0.0
        for quantity, price in trades:
            units += quantity
            worth += quantity * price
        return self.for_value(instrument, horizon, side, units, worth * instrument.multiplier, day)

    def for_value(self, instrument: Instrument, horizon: Horizon, side: Side, quantity: int, value: float, day: date) -> Breakdown:
        """The same for an order known by its executed units and value in rupees; constant time."""
        rates = self.rates(instrument, horizon, side, day)
        if quantity == 0:
            return Breakdown(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, rates.assumed)
        brokerage = rates.brokerage(value) + rates.per_lot * quantity / instrument.lot
        txn, ipft, sebi = value * rates.txn, value * rates.ipft, value * rates.sebi
        stt, stamp = value * rates.stt, value * rates.stamp
        gst = rates.gst * (brokerage + txn + (sebi if rates.sebi_taxed else 0.0) + (ipft if rates.ipft_taxed else 0.0))
        return Breakdown(brokerage, stt, txn, ipft, sebi, stamp, gst, brokerage + stt + txn + ipft + sebi + stamp + gst, rates.assumed)

    def lines(self, instrument: Instrument, horizon: Horizon, side: Side, quantity: int, value: float, day: date) -> dict[str, float]:
        """`for_value` line by line, by the names of LINES."""
        parts = self.for_value(instrument, horizon, side, quantity, value, day)
        return {name: getattr(parts, name) + (parts.ipft if name == "txn" else 0.0) for name in LINES}

    @property
    def near(self) -> int:
        """Paise by which what the broker tells of one order may differ from ours by its rounding alone."""
        if self._told is None:
            raise ConfigError(f"{_WHERE}: `told` has nothing of {self.broker}; write how its API rounds the charges of an order")
        return int(self._told["paise"])

    def depository(self, value: float, day: date) -> float:
        """Rupees, GST included, for delivering shares worth `value` out of the demat account: once a day and share."""
        plan, _ = self._plan(day)
        if "dp_sell_inr_incl_gst" in plan:
            return float(plan["dp_sell_inr_incl_gst"])
        if plan.get("dp_sell_inr") is None:
            raise ConfigError(f"{_WHERE}: no depository charge of {self.broker} on {day}")
        return formula(plan["dp_sell_inr"])(value) * (1 + float(self._statutory["gst"]["rate"]))

    def rates(self, instrument: Instrument, horizon: Horizon, side: Side, day: date) -> Rates:
        """The rates that apply to such an order on `day`."""
        exchange = instrument.exchange
        key = (instrument.kind, horizon, exchange, instrument.underlying if exchange in _BY_UNDERLYING else "", side, day)
        found = self._rates.get(key)
        if found is None:
            found = self._rates[key] = self._resolve(instrument, horizon, side, day)
        return found

    def terms(self, instrument: Instrument, horizon: Horizon, side: Side, day: date) -> dict[str, Term]:
        """Each rate of such an order on `day` with the row of the file it comes from, by the names of `Breakdown` (gst apart)."""
        category = category_of(instrument, horizon)
        exchange, guessed = self._exchange(category, instrument, day)
        sebi, guessed_sebi = _version(self._statutory["sebi_fee_per_cr"], day)
        return {
            "brokerage": self._brokerage(category, day),
            "stt": self._tax(category, instrument, side, day),
            "txn": Term(_known(exchange["rate"], f"exchange charge of {instrument.exchange}", exchange), exchange, guessed),
            "ipft": Term(exchange.get("ipft_per_cr", 0) / CRORE, exchange, guessed),
            "sebi": Term(sebi["v"] / CRORE, sebi, guessed_sebi),
            "stamp": self._stamp(category, side, day),
        }

    def gst(self, day: date) -> tuple[float, bool, bool]:
        """The rate, and whether its base takes in the SEBI fee and the investor protection fund."""
        gst = self._statutory["gst"]
        ipft_taxed = self._ipft_taxed(gst["ipft_in_base"].get(self.broker, False), day)
        return float(gst["rate"]), day >= gst["sebi_fee_in_base_from"], ipft_taxed

    def tax_rate(self, instrument: Instrument, horizon: Horizon, side: Side, day: date) -> float:
        """The transaction tax alone, as a fraction of the turnover: it needs no brokerage plan."""
        return float(self._tax(category_of(instrument, horizon), instrument, side, day).rate)

    def exercise_tax(self, intrinsic: float, day: date) -> float:
        """Rupees of transaction tax, unrounded, that the holder of an option owes when it is exercised at expiry, worth `intrinsic`."""
        row, _ = _version(self._statutory["stt"]["options_exercised"], day)
        return intrinsic * float(row["buyer"])

    def _resolve(self, instrument: Instrument, horizon: Horizon, side: Side, day: date) -> Rates:
        terms = self.terms(instrument, horizon, side, day)
        brokerage = terms["brokerage"]
        gst, sebi_taxed, ipft_taxed = self.gst(day)
        return Rates(
            brokerage=formula(0) if brokerage.per_lot else formula(brokerage.rate),
            per_lot=float(brokerage.rate) if brokerage.per_lot else 0.0,
            stt=float(terms["stt"].rate),
            txn=float(terms["txn"].rate),
            ipft=float(terms["ipft"].rate),
            sebi=float(terms["sebi"].rate),
            stamp=float(terms["stamp"].rate),
            gst=gst,
            sebi_taxed=sebi_taxed,
            ipft_taxed=ipft_taxed,
            assumed=any(term.assumed for term in terms.values()) or terms["stamp"].row.get("status") == "unconfirmed",
        )

    def _plan(self, day: date) -> tuple[Mapping[str, Any], bool]:
        return _version(self._plans, day)

    def _brokerage(self, category: str, day: date) -> Term:
        plan, guessed = self._plan(day)
        if f"{category}_per_lot" in plan:
            return Term(float(plan[f"{category}_per_lot"]), plan, guessed, per_lot=True)
        names = (category, category.partition("_")[0])  # "currency" and "commodity" may stand for both their kinds
        written = next((plan[name] for name in names if name in plan), None)
        if written is None:
            raise ConfigError(f"{_WHERE}: no brokerage of {self.broker} for {category} on {day}; add it to the broker's plan there")
        formula(written)  # refuses what is written in words
        return Term(written, plan, guessed)

    def _exchange(self, category: str, instrument: Instrument, day: date) -> tuple[Mapping[str, Any], bool]:
        name = _EXCHANGES[instrument.exchange]
        table = self._statutory["exchange_txn"][name]
        product = {"equity_delivery": "equity", "equity_intraday": "equity"}.get(category, category.removeprefix("commodity_"))
        if name == "BSE" and product == "options":
            product = "options_sensex_bankex" if instrument.underlying in _BSE_INDEX_OPTIONS else "options_other"
        rows = [row for row in table.get(product, ()) if row.get("underlying", instrument.underlying) == instrument.underlying]
        if not rows:
            raise ConfigError(f"{_WHERE}: no exchange charge of {name} for {product} ({instrument.key}); add it under exchange_txn")
        own = [row for row in rows if "underlying" in row and row["from"] <= day]
        return _version(own or [row for row in rows if "underlying" not in row], day)

    def _tax(self, category: str, instrument: Instrument, side: Side, day: date) -> Term:
        if category.startswith("currency"):
            return Term(0.0, {"note": "currency derivatives bear no transaction tax"})
        name = _TAXES.get(category, category)
        if category.startswith("commodity") and instrument.underlying in self._statutory["agri_commodities"]["roots"]:
            name = "ctt_agri"
        row, guessed = _version(self._statutory["stt"][name], day)
        rate = _known(row.get(side.value.lower(), 0), f"transaction tax of {instrument.underlying} ({name})", row)
        return Term(rate, row, guessed)

    def _stamp(self, category: str, side: Side, day: date) -> Term:
        name = "currency" if category.startswith("currency") else category
        row, guessed = _version([row for row in self._statutory["stamp_duty_buy"] if name in row], day)
        return Term(_known(row[name], f"stamp duty for {category}", row) if side is Side.BUY else 0.0, row, guessed)

    @staticmethod
    def _ipft_taxed(given: bool | Sequence[Mapping[str, Any]], day: date) -> bool:
        return given if isinstance(given, bool) else bool(_version(given, day)[0]["v"])


# --- the day's contract note ------------------------------------------------------------------------------------------------------


def day_contract_note(charges: Charges, orders: Iterable[Executed], day: date) -> Breakdown:
    """A day's charges as the contract note states them: transaction tax by scrip, rounded to paise and then to whole rupees; stamp duty
    to whole rupees of the day's sum; every other line to paise. Depository charges are billed apart (`Charges.depository`)."""
    sums = dict.fromkeys(("brokerage", "txn", "ipft", "sebi", "stamp", "gst"), 0.0)
    scrips: dict[str, list[Executed]] = {}
    assumed = False
    for order in orders:
        parts = charges.for_value(order.instrument, order.horizon, order.side, order.quantity, order.value, day)
        assumed = assumed or parts.assumed
        for name in sums:
            sums[name] += getattr(parts, name)
        scrips.setdefault(order.instrument.key, []).append(order)
    lines = {name: float(rounded(value, "0.01")) for name, value in sums.items()}
    lines["stamp"] = float(whole_rupees(sums["stamp"]))
    lines["stt"] = float(sum(whole_rupees(tax) for scrip in scrips.values() for tax in transaction_tax(charges, scrip, day).values()))
    return Breakdown(**lines, total=float(rounded(sum(lines.values()), "0.01")), assumed=assumed)


def transaction_tax(charges: Charges, orders: Sequence[Executed], day: date) -> dict[str, float]:
    """The unrounded tax of one scrip's orders of a day, by category. Shares bought and sold the same day are intraday whatever the
    product said, the rest is delivery; both at the day's average over all purchases and sales."""
    instrument = orders[0].instrument
    quantity = {side: sum(order.quantity for order in orders if order.side is side) for side in Side}
    value = {side: sum(order.value for order in orders if order.side is side) for side in Side}
    if instrument.kind is not Kind.EQUITY:
        sell = charges.tax_rate(instrument, orders[0].horizon, Side.SELL, day)
        return {category_of(instrument, orders[0].horizon): value[Side.SELL] * sell}
    average = sum(value.values()) / sum(quantity.values())
    both = min(quantity.values())
    net = quantity[Side.BUY] - quantity[Side.SELL]
    taxes = {}
    if both:
        taxes["equity_intraday"] = both * average * charges.tax_rate(instrument, Horizon.INTRADAY, Side.SELL, day)
    if net:
        rate = charges.tax_rate(instrument, Horizon.CARRY, Side.BUY if net > 0 else Side.SELL, day)
        taxes["equity_delivery"] = abs(net) * average * rate
    return taxes


def rounded(value: float, step: str) -> Decimal:
    """Half up to `step`, after removing float drift: 12.495 -> 12.50."""
    return Decimal(repr(round(value, 9))).quantize(Decimal(step), ROUND_HALF_UP)


def whole_rupees(value: float) -> int:
    """To paise, then to rupees, half up each time (12.495 -> 12.50 -> 13)."""
    return int(rounded(float(rounded(value, "0.01")), "1"))


# --- reading the file -------------------------------------------------------------------------------------------------------------


def category_of(instrument: Instrument, horizon: Horizon) -> str:
    """The name under which the file keeps the rates of such an order."""
    if instrument.kind is Kind.EQUITY:
        return "equity_delivery" if horizon is Horizon.CARRY else "equity_intraday"
    if instrument.kind is Kind.INDEX:
        raise ValueError(f"{instrument.key} is an index: it cannot be traded, so it has no charges")
    kind = "futures" if instrument.kind is Kind.FUTURE else "options"
    return {"CDS": "currency_", "MCX": "commodity_"}.get(instrument.segment, "") + kind


def formula(written: float | str) -> Formula:
    """Rupees of brokerage as a function of the turnover T. A number from 1 up is rupees, below 1 a fraction of T; a text is arithmetic of
    T with min, max, + - * / and `x if T >= y else z`, and nothing else (it is parsed, not run)."""
    if isinstance(written, int | float):
        amount = float(written)
        return (lambda turnover: amount) if amount == 0 or amount >= 1 else (lambda turnover: amount * turnover)
    try:
        return _compiled(ast.parse(written, mode="eval").body)
    except (SyntaxError, _NotArithmetic):
        raise ConfigError(
            f"{_WHERE}: {written!r} is no formula of T (numbers, T, min, max, + - * /, if-else); write the broker's rate"
        ) from None


class _NotArithmetic(Exception):
    pass


_OPERATIONS: Mapping[type, Callable[[float, float], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.GtE: lambda a, b: a >= b,
    ast.Gt: lambda a, b: a > b,
    ast.LtE: lambda a, b: a <= b,
    ast.Lt: lambda a, b: a < b,
}


def _compiled(node: ast.expr) -> Callable[[float], Any]:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return lambda turnover: number
        case ast.Name(id="T"):
            return lambda turnover: turnover
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATIONS:
            return _pair(_OPERATIONS[type(operator)], _compiled(left), _compiled(right))
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _OPERATIONS:
            return _pair(_OPERATIONS[type(operator)], _compiled(left), _compiled(right))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[left, right], keywords=[]):
            return _pair(min if name == "min" else max, _compiled(left), _compiled(right))
        case ast.IfExp(test=test, body=body, orelse=other):
            condition, yes, no = _compiled(test), _compiled(body), _compiled(other)
            return lambda turnover: yes(turnover) if condition(turnover) else no(turnover)
    raise _NotArithmetic


def _pair(operation: Callable[[Any, Any], Any], left: Formula, right: Formula) -> Callable[[float], Any]:
    return lambda turnover: operation(left(turnover), right(turnover))


def _known(rate: float | None, what: str, row: Mapping[str, Any]) -> float:
    """The rate; ConfigError where the file has null: what nobody knows is not guessed."""
    if rate is None:
        note = f" ({row['note']})" if "note" in row else ""
        raise ConfigError(f"{_WHERE}: the {what} from {row['from']} is not known{note}; write the rate there, with its source")
    return float(rate)


def _version(versions: Sequence[Mapping[str, Any]], day: date) -> tuple[Mapping[str, Any], bool]:
    """The row in force on `day`, and whether that is only assumed: before the first row's date the first serves."""
    for version in versions:
        if version["from"] <= day and (version["to"] is None or day <= version["to"]):
            return version, False
    if day < versions[0]["from"]:
        return versions[0], True
    raise ConfigError(f"{_WHERE} has no rate for {day} between its dated rows; add the missing period")
