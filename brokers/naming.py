"""The exchange-style symbols by which all brokers' contracts are known here, whatever each broker itself calls them."""

from datetime import date

from core.types import Kind

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def contract_symbol(root: str, expiry: date, kind: Kind, strike: float | None, *, weekly: bool) -> str:
    """NIFTY26NOVFUT, NIFTY26DEC25000CE, of a week NIFTY26D0125000CE."""
    stem = f"{expiry:%y}{'123456789OND'[expiry.month - 1]}{expiry:%d}" if weekly else f"{expiry:%y}{_MONTHS[expiry.month - 1]}"
    return f"{root}{stem}FUT" if kind is Kind.FUTURE else f"{root}{stem}{strike:.10g}{kind.value}"
