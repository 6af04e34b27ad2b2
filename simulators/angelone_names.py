"""Angel One's names of the day's instruments: token, trading symbol, exchange and its number, and the rows of the scrip master."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulators.listing import Listing
from simulators.world import World

EXCHANGE_TYPES = {"NSE": 1, "NFO": 2, "BSE": 3, "BFO": 4, "MCX": 5, "NCO": 7, "CDS": 13}
_INDICES = {  # key -> token, trading symbol, name
    "NSE:NIFTY 50": ("99926000", "Nifty 50", "NIFTY"),
    "NSE:NIFTY BANK": ("99926009", "Nifty Bank", "BANKNIFTY"),
    "NSE:INDIA VIX": ("99926017", "India VIX", "INDIA VIX"),
    "NSE:NIFTY FIN SERVICE": ("99926037", "Nifty Fin Service", "FINNIFTY"),
    "NSE:NIFTY MID SELECT": ("99926074", "NIFTY MID SELECT", "MIDCPNIFTY"),
    "BSE:SENSEX": ("99919000", "SENSEX", "SENSEX"),
}


@dataclass(frozen=True, slots=True)
class Scrip:
    """One listing under the broker's names."""

    listing: Listing
    token: str
    symbol: str
    name: str

    @property
    def exchange(self) -> str:
        return self.listing.exchange

    @property
    def type(self) -> int:
        return EXCHANGE_TYPES.get(self.exchange, 1)

    @property
    def expiry(self) -> str:
        return f"{self.listing.expiry:%d%b%Y}".upper() if self.listing.expiry else ""


class Names:
    """The day's scrips by every name a request may use; made anew when the day's listings change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._of: object = None
        self._scrips: dict[str, Scrip] = {}
        self._by_token: dict[tuple[str, str], Scrip] = {}

    def all(self) -> Mapping[str, Scrip]:
        """Scrips by listing key."""
        listings = self._world.market.listings
        of = (self._world.day, len(listings))
        if self._of != of:
            self._scrips = {key: _scrip(listing) for key, listing in listings.items()}
            self._by_token = {(one.exchange, one.token): one for one in self._scrips.values()}
            self._of = of
        return self._scrips

    def of(self, listing: Listing) -> Scrip:
        return self.all().get(listing.key) or _scrip(listing)

    def find(self, exchange: str, token: str) -> Scrip | None:
        self.all()
        return self._by_token.get((exchange, token))

    def search(self, exchange: str, text: str) -> list[Scrip]:
        wanted = text.upper()
        return [one for one in self.all().values() if one.exchange == exchange and wanted in one.symbol.upper()]

    def master(self) -> list[dict[str, Any]]:
        """The rows of OpenAPIScripMaster.json: all texts, strike and tick in paise."""
        indices = {one.listing.underlying for one in self.all().values() if one.listing.kind == "INDEX"}
        return [_row(one, one.listing.underlying in indices) for one in self.all().values()]


def _scrip(listing: Listing) -> Scrip:
    if listing.kind == "INDEX":
        token, symbol, name = _INDICES.get(listing.key, (str(listing.exchange_token), listing.symbol, listing.underlying))
        return Scrip(listing, token, symbol, name)
    token = str(listing.exchange_token)
    if listing.kind == "EQ":
        return Scrip(listing, token, f"{listing.symbol}-EQ" if listing.exchange == "NSE" else listing.symbol, listing.symbol)
    day = f"{listing.expiry:%d%b%y}".upper() if listing.expiry else ""
    end = "FUT" if listing.kind == "FUT" else f"{listing.strike:g}{listing.kind}"
    return Scrip(listing, token, f"{listing.underlying}{day}{end}", listing.underlying)


def _row(one: Scrip, on_index: bool) -> dict[str, Any]:
    listing, group = one.listing, "IDX" if on_index else "STK"
    kind = {"INDEX": "AMXIDX", "EQ": "", "FUT": f"FUT{group}", "CE": f"OPT{group}", "PE": f"OPT{group}"}[listing.kind]
    if listing.exchange in ("MCX", "NCO"):
        kind = "FUTCOM" if listing.kind == "FUT" else "OPTFUT"
    strike = {"EQ": -1.0, "INDEX": 0.0, "FUT": -1.0}.get(listing.kind, listing.strike * 100)
    return {
        "token": one.token,
        "symbol": one.symbol,
        "name": one.name,
        "expiry": one.expiry,
        "strike": f"{strike:.6f}",
        "lotsize": str(listing.lot),
        "instrumenttype": kind,
        "exch_seg": listing.exchange,
        "tick_size": f"{0.0 if listing.kind == 'INDEX' else listing.tick_size * 100:.6f}",
        "freeze_qty": str(listing.freeze or 0),
        "is_cas_enabled": listing.is_fno,
    }
