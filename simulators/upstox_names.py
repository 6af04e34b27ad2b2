"""How Upstox calls instruments: segments, instrument keys, trading symbols, and the day's instrument file in its JSON."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, time
from typing import Any

from simulators.listing import Listing
from simulators.wire import dump
from simulators.world import IST

SEGMENTS = {
    "NSE": "NSE_EQ",
    "BSE": "BSE_EQ",
    "NFO": "NSE_FO",
    "BFO": "BSE_FO",
    "CDS": "NCD_FO",
    "BCD": "BCD_FO",
    "MCX": "MCX_FO",
    "NCO": "NSE_COM",
}
EXCHANGES = {"NFO": "NSE", "CDS": "NSE", "NCO": "NSE", "BFO": "BSE", "BCD": "BSE"}
ISIN = {  # of the shares whose number is well known; others are invented
    "RELIANCE": "INE002A01018",
    "HDFCBANK": "INE040A01034",
    "INFY": "INE009A01021",
    "SBIN": "INE062A01020",
    "TCS": "INE467B01029",
    "ICICIBANK": "INE090A01021",
}
_ROOTS = {"NIFTY 50": "NIFTY", "NIFTY BANK": "BANKNIFTY"}


def segment(listing: Listing) -> str:
    return f"{listing.exchange}_INDEX" if listing.kind == "INDEX" else SEGMENTS[listing.exchange]


def isin(listing: Listing) -> str:
    digest = hashlib.sha256(listing.symbol.encode()).hexdigest()[:9].upper()
    return ISIN.get(listing.symbol, f"INE{digest}")


def instrument_key(listing: Listing) -> str:
    """`NSE_EQ|ISIN`, `NSE_FO|exchange token` (of the day), `NSE_INDEX|Nifty 50`."""
    if listing.kind == "INDEX":
        name = listing.symbol.title() if listing.exchange == "NSE" else listing.symbol
        return f"{segment(listing)}|{name}"
    return f"{segment(listing)}|{isin(listing) if listing.kind == 'EQ' else listing.exchange_token}"


def trading_symbol(listing: Listing) -> str:
    """RELIANCE, NIFTY FUT 24 NOV 26, NIFTY 25000 CE 29 DEC 26."""
    if listing.expiry is None:
        return _ROOTS.get(listing.symbol, listing.symbol)
    day = f"{listing.expiry:%d %b %y}".upper()
    middle = "FUT" if listing.kind == "FUT" else f"{listing.strike:g} {listing.kind}"
    return f"{listing.underlying} {middle} {day}"


def keys_of(listings: Mapping[str, Listing]) -> dict[str, str]:
    """Today's instrument keys -> the listings' own."""
    return {instrument_key(listing): key for key, listing in listings.items()}


def _row(listing: Listing, indices: Mapping[str, str]) -> dict[str, Any]:
    exchange = EXCHANGES.get(listing.exchange, listing.exchange)
    row: dict[str, Any] = {
        "segment": segment(listing),
        "name": listing.name,
        "exchange": exchange,
        "instrument_type": listing.kind,
        "instrument_key": instrument_key(listing),
        "exchange_token": str(listing.exchange_token),
        "trading_symbol": trading_symbol(listing),
    }
    if listing.kind == "INDEX":
        return {**row, "name": row["instrument_key"].partition("|")[2]}
    row |= {"lot_size": listing.lot, "tick_size": round(listing.tick_size * 100, 4), "qty_multiplier": 1.0}
    row["freeze_quantity"] = float(listing.freeze or 100_000)
    if listing.expiry is None:
        return {**row, "isin": isin(listing), "short_name": listing.name, "security_type": "NORMAL", "cas_eligible": listing.is_fno}
    end = datetime.combine(listing.expiry, time(23, 59, 59), IST)
    underlying = indices.get(listing.underlying, "")
    weekly = listing.kind != "FUT" and not any(month in listing.symbol for month in _months(listing))
    return {
        **row,
        "name": listing.underlying,
        "expiry": int(end.timestamp() * 1000),
        "weekly": weekly,
        "asset_symbol": listing.underlying,
        "underlying_symbol": listing.underlying,
        "asset_key": underlying,
        "underlying_key": underlying,
        "asset_type": "INDEX" if "INDEX" in underlying else "EQUITY",
        "underlying_type": "INDEX" if "INDEX" in underlying else "EQUITY",
        "minimum_lot": listing.lot,
        **({"strike_price": listing.strike} if listing.kind != "FUT" else {}),
    }


def _months(listing: Listing) -> list[str]:
    """How this contract's symbol would show that it is its month's last."""
    assert listing.expiry is not None
    return [f"{listing.underlying}{listing.expiry:%y}{listing.expiry:%b}".upper()]


def instrument_file(listings: Iterable[Listing]) -> bytes:
    """complete.json: tick sizes in paise, expiries in epoch milliseconds of 23:59:59 IST."""
    known = list(listings)
    indices = {one.underlying: instrument_key(one) for one in known if one.kind == "EQ"}
    indices |= {_ROOTS.get(one.symbol, one.symbol): instrument_key(one) for one in known if one.kind == "INDEX"}
    return dump([_row(listing, indices) for listing in known])
