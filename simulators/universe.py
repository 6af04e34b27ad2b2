"""The synthetic universe: which indices, stocks, futures and options are listed on a day, their lots, ticks and tokens; invented levels."""

from dataclasses import dataclass
from datetime import date

from simulators.facts import Facts
from simulators.paths import number_of

RATE = 0.065  # yearly, for the futures' basis and the options
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
ANCHOR = date(2026, 11, 19)  # the day at whose end the base levels below hold


@dataclass(frozen=True, slots=True)
class Underlying:
    """An index or stock: `base` level at ANCHOR's close, `beta` to the market factor, `scale` of its own daily moves.

    `rate` is prints per second, `size` the mean print and `depth` the usual level in its own units (lots for futures on it, in `lot`).
    """

    root: str
    symbol: str
    name: str
    token: int
    base: float
    beta: float
    scale: float
    lot: int = 1
    is_fno: bool = True
    is_index: bool = False
    rate: float = 1.5
    size: int = 120
    depth: int = 450


MARKET_FACTOR = "MARKET"
MARKET_SCALE = 0.0095

# Levels, lots of stocks and activity are invented; the tokens of indices and shares are Kite's.
UNDERLYINGS: dict[str, Underlying] = {
    item.root: item
    for item in (
        Underlying("NIFTY", "NIFTY 50", "NIFTY 50", 256265, 25_600.0, 1.0, 0.0, is_index=True),
        Underlying("BANKNIFTY", "NIFTY BANK", "NIFTY BANK", 260105, 57_800.0, 1.08, 0.0045, is_index=True),
        Underlying("RELIANCE", "RELIANCE", "RELIANCE INDUSTRIES", 738561, 1_452.0, 1.05, 0.0085, 500, rate=1.8, size=160, depth=520),
        Underlying("HDFCBANK", "HDFCBANK", "HDFC BANK", 341249, 986.0, 1.0, 0.0070, 550, rate=1.9, size=220, depth=800),
        Underlying("INFY", "INFY", "INFOSYS", 408065, 1_544.0, 0.85, 0.0100, 400, rate=1.5, size=110, depth=350),
        Underlying("SBIN", "SBIN", "STATE BANK OF INDIA", 779521, 948.0, 1.15, 0.0090, 750, rate=1.7, size=260, depth=900),
        Underlying("TCS", "TCS", "TATA CONSULTANCY SERV LT", 2953217, 3_118.0, 0.8, 0.0090, 175, rate=1.1, size=50, depth=160),
        Underlying("ICICIBANK", "ICICIBANK", "ICICI BANK", 1270529, 1_386.0, 1.1, 0.0080, 700, rate=1.6, size=150, depth=480),
        Underlying("VSTIND", "VSTIND", "VST INDUSTRIES", 947969, 262.0, 0.5, 0.0140, is_fno=False, rate=0.12, size=45, depth=60),
    )
}


@dataclass(frozen=True, slots=True)
class Contract:
    """What of a listing is known before any price: enough to place it on the calendar."""

    key: str
    root: str
    kind: str
    expiry: date | None = None
    strike: float = 0.0
    weekly: bool = False


def future_symbol(root: str, expiry: date) -> str:
    return f"{root}{expiry:%y}{MONTHS[expiry.month - 1]}FUT"


def option_symbol(root: str, expiry: date, strike: float, kind: str, *, weekly: bool) -> str:
    """Kite's spelling: NIFTY26D0125000CE for a weekly, NIFTY26DEC25000CE for a monthly."""
    middle = f"{'123456789OND'[expiry.month - 1]}{expiry:%d}" if weekly else MONTHS[expiry.month - 1]
    return f"{root}{expiry:%y}{middle}{strike:g}{kind}"


def contracts_of(facts: Facts, day: date, nifty_level: float) -> list[Contract]:
    """Everything listed on this day; option strikes lie 50 points apart up to 2,000 points around `nifty_level`."""
    found = []
    for root, item in UNDERLYINGS.items():
        found.append(Contract(f"NSE:{item.symbol}", root, "INDEX" if item.is_index else "EQ"))
        if item.is_fno:
            months = facts.monthly_expiries(root, day, 3 if item.is_index else 1)
            found += [Contract(f"NFO:{future_symbol(root, expiry)}", root, "FUT", expiry) for expiry in months]
    centre = round(nifty_level / 50) * 50
    expiries = [(facts.monthly_expiries("NIFTY", day, 1)[0], False)]
    weekly = facts.weekly_expiry("NIFTY", day)
    if weekly is not None:
        expiries.append((weekly, True))
    for expiry, is_weekly in sorted(expiries):
        for strike in range(centre - 2000, centre + 2001, 50):
            for kind in ("CE", "PE"):
                symbol = option_symbol("NIFTY", expiry, strike, kind, weekly=is_weekly)
                found.append(Contract(f"NFO:{symbol}", "NIFTY", kind, expiry, float(strike), is_weekly))
    return found


def tokens_of(contracts: list[Contract], day: date) -> dict[str, int]:
    """Instrument tokens of this day: Kite's own for indices and shares, drawn anew each day for derivatives (segment code 2)."""
    taken: set[int] = set()
    tokens: dict[str, int] = {}
    for contract in contracts:
        if contract.kind in {"INDEX", "EQ"}:
            tokens[contract.key] = UNDERLYINGS[contract.root].token
            continue
        number = 35_000 + number_of(day, contract.key) % 30_000
        while number in taken:
            number += 1
        taken.add(number)
        tokens[contract.key] = number * 256 + 2
    return tokens
