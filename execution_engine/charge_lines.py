"""A trade's charges explained line by line: base, rate, amount, the date from which the rate holds, its source, and how sure that is.

The amounts are those of execution_engine/charges.py, line for line; this module adds where each comes from. Per order nothing is rounded;
the day's contract note, which decides what is paid, follows apart.
"""

from collections.abc import Sequence
from datetime import date

import msgspec

from core.errors import ConfigError
from core.types import Horizon, Instrument, Kind, Side
from execution_engine.charges import Breakdown, Charges, Executed, Term, category_of, day_contract_note

NAMES = {
    "brokerage": "brokerage",
    "stt": "transaction tax",
    "txn": "exchange charge",
    "ipft": "investor protection",
    "sebi": "SEBI fee",
    "stamp": "stamp duty",
    "gst": "GST",
}
ROUNDING = (
    "per order nothing is rounded; the contract note of a day rounds the transaction tax of each scrip to paise and then to whole rupees "
    "(half up), stamp duty to whole rupees of the day's sum, and all else to paise"
)


class Line(msgspec.Struct, frozen=True):
    """One charge of one order. `basis` is what the rate is taken of, in rupees; `since` is when the rate began (ISO), `status` is
    confirmed, single_source, unconfirmed, or assumed (the day is before the rate's table)."""

    side: Side
    name: str
    base: str
    basis: float
    rate: str
    amount: float
    since: str
    source: tuple[str, ...]
    status: str
    note: str = ""


class Explained(msgspec.Struct, frozen=True):
    """`orders` are the parts' sums over all orders, unrounded; `note` is the same as contract notes state it; `depository` is billed
    beside them, once a day and share, when shares leave the demat account (0: none do; None: the file does not know this broker's)."""

    lines: tuple[Line, ...]
    orders: Breakdown
    note: Breakdown
    depository: float | None
    gross: float | None  # rupees, of a round trip


def explain(
    charges: Charges,
    instrument: Instrument,
    horizon: Horizon,
    orders: Sequence[tuple[Side, int, float]],
    day: date,
) -> Explained:
    """The charges of these orders (side, units, price), each executed whole on `day`.

    Raises ConfigError where a rate is not known, and ValueError for an index.
    """
    lines: list[Line] = []
    parts: list[Breakdown] = []
    executed: list[Executed] = []
    for side, quantity, price in orders:
        value = quantity * price * instrument.multiplier
        executed.append(Executed(instrument, horizon, side, quantity, value))
        parts.append(charges.for_value(instrument, horizon, side, quantity, value, day))
        lines += _lines(charges, instrument, horizon, side, value, parts[-1], day)
    summed = {name: sum(getattr(part, name) for part in parts) for name in (*NAMES, "total")}
    sold = sum(order.value for order in executed if order.side is Side.SELL)
    bought = sum(order.quantity for order in executed if order.side is Side.BUY)
    leaves = category_of(instrument, horizon) == "equity_delivery" and sold > 0
    whole = bought == sum(order.quantity for order in executed if order.side is Side.SELL)
    return Explained(
        lines=tuple(lines),
        orders=Breakdown(**summed, assumed=any(part.assumed for part in parts)),
        note=_note(charges, executed, day),
        depository=_depository(charges, sold, day) if leaves else 0.0,
        gross=sum(order.value * -order.side.sign for order in executed) if whole else None,
    )


def _note(charges: Charges, orders: Sequence[Executed], day: date) -> Breakdown:
    """As contract notes state it: one for an intraday trade, one for each order of a trade that is held overnight."""
    if orders[0].horizon is Horizon.INTRADAY:
        return day_contract_note(charges, orders, day)
    notes = [day_contract_note(charges, [order], day) for order in orders]
    summed = {name: sum(getattr(note, name) for note in notes) for name in (*NAMES, "total")}
    return Breakdown(**summed, assumed=any(note.assumed for note in notes))


def _depository(charges: Charges, sold: float, day: date) -> float | None:
    try:
        return charges.depository(sold, day)
    except ConfigError:
        return None


def _lines(
    charges: Charges,
    instrument: Instrument,
    horizon: Horizon,
    side: Side,
    value: float,
    parts: Breakdown,
    day: date,
) -> list[Line]:
    turnover = "premium" if instrument.kind in (Kind.CALL, Kind.PUT) else "turnover"
    found = []
    for name, term in charges.terms(instrument, horizon, side, day).items():
        base, basis = ("the order", value) if name == "brokerage" else (turnover, value)
        status = "assumed" if term.assumed else str(term.row.get("status", "confirmed"))
        keys = tuple(str(key) for key in term.row.get("src", ()))
        since = str(term.row.get("from", ""))
        note = str(term.row.get("note", ""))
        found.append(Line(side, NAMES[name], base, basis, _rate(name, term), getattr(parts, name), since, keys, status, note))
    rate, sebi_taxed, ipft_taxed = charges.gst(day)
    taxed = ["brokerage", "txn", *(["sebi"] if sebi_taxed else []), *(["ipft"] if ipft_taxed else [])]
    basis = sum(getattr(parts, name) for name in taxed)
    base = " + ".join(NAMES[name] for name in taxed)
    found.append(Line(side, NAMES["gst"], base, basis, f"{rate:.0%}", parts.gst, "", (), "confirmed"))
    return found


def _rate(name: str, term: Term) -> str:
    if name == "brokerage":
        if term.per_lot:
            return f"Rs {term.rate:g} a lot"
        if isinstance(term.rate, str):
            return term.rate
        return f"Rs {term.rate:g}" if term.rate == 0 or term.rate >= 1 else f"{term.rate * 100:.6g} %"
    if name in ("ipft", "sebi"):
        return f"Rs {float(term.rate) * 1e7:g} a crore"
    return f"{float(term.rate) * 100:.6g} %"
