"""How Groww calls instruments: exchange and segment, trading symbol, groww symbol, and the day's instrument file in its CSV."""

import csv
import io
from collections.abc import Iterable, Mapping

from simulators.listing import Listing
from simulators.world import World

PLACES = {"NSE": ("NSE", "CASH"), "BSE": ("BSE", "CASH"), "NFO": ("NSE", "FNO"), "BFO": ("BSE", "FNO"), "MCX": ("MCX", "COMMODITY")}
"""The exchange of a listing -> Groww's exchange and segment."""
INDICES = {
    "NIFTY 50": "NIFTY",
    "NIFTY BANK": "BANKNIFTY",
    "NIFTY FIN SERVICE": "FINNIFTY",
    "NIFTY MID SELECT": "MIDCPNIFTY",
    "NIFTY NEXT 50": "NIFTYNXT50",
    "INDIA VIX": "INDIAVIX",
}
HEADER = (
    *("exchange", "exchange_token", "trading_symbol", "groww_symbol", "name", "instrument_type", "segment", "series", "isin"),
    *("underlying_symbol", "underlying_exchange_token", "expiry_date", "strike_price", "lot_size", "tick_size", "freeze_quantity"),
    *("is_reserved", "buy_allowed", "sell_allowed", "internal_trading_symbol", "is_intraday"),
)


def place(listing: Listing) -> tuple[str, str]:
    return PLACES.get(listing.exchange, (listing.exchange, "CASH"))


def trading_symbol(listing: Listing) -> str:
    return INDICES.get(listing.symbol, listing.symbol) if listing.kind == "INDEX" else listing.symbol


def groww_symbol(listing: Listing) -> str:
    """NSE-RELIANCE, NSE-NIFTY-24Nov26-FUT, NSE-NIFTY-24Nov26-25000-CE."""
    exchange = place(listing)[0]
    if listing.expiry is None:
        return f"{exchange}-{trading_symbol(listing)}"
    end = "FUT" if listing.kind == "FUT" else f"{listing.strike:g}-{listing.kind}"
    return f"{exchange}-{listing.underlying}-{listing.expiry:%d%b%y}-{end}"


class Names:
    """The day's listings by every name a request may use; made anew when the day's listings change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._of: object = None
        self._by_symbol: Mapping[tuple[str, str, str], Listing] = {}
        self._by_groww: Mapping[str, Listing] = {}
        self._file = b""

    def find(self, exchange: str, segment: str, symbol: str) -> Listing | None:
        self._refresh()
        return self._by_symbol.get((exchange, segment, symbol))

    def by_groww(self, symbol: str) -> Listing | None:
        self._refresh()
        return self._by_groww.get(symbol)

    def file(self) -> bytes:
        """instrument.csv of today."""
        self._refresh()
        if not self._file:
            self._file = _file(self._world.market.listings.values())
        return self._file

    def _refresh(self) -> None:
        listings = self._world.market.listings
        of = (self._world.day, len(listings))
        if self._of != of:
            self._by_symbol = {(*place(one), trading_symbol(one)): one for one in listings.values()}
            self._by_groww = {groww_symbol(one): one for one in listings.values()}
            self._of, self._file = of, b""


def _file(listings: Iterable[Listing]) -> bytes:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(HEADER)
    for one in listings:
        exchange, segment = place(one)
        kind = {"INDEX": "IDX"}.get(one.kind, one.kind)
        tradable = int(one.kind != "INDEX")
        derivative = one.expiry is not None
        freeze = one.freeze + 1 if one.freeze is not None else ""  # the first quantity that is frozen
        row = [exchange, one.exchange_token, trading_symbol(one), groww_symbol(one), "" if derivative else one.name, kind, segment]
        row += ["EQ" if one.kind == "EQ" and exchange == "NSE" else "", "", one.underlying if derivative else "", ""]
        row += [one.expiry or "", f"{one.strike:g}" if one.kind in ("CE", "PE") else "-0.01" if derivative else ""]
        row += [one.lot, f"{one.tick_size:g}", freeze, 0, tradable, tradable, trading_symbol(one), int(one.kind == "EQ")]
        rows.writerow(row)
    return out.getvalue().encode()
