"""How ICICI calls instruments: short codes, exchange tokens, rooms of the stream, and the day's security master as a zip of text files."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from simulators.icici_errors import ApiError
from simulators.listing import Listing
from simulators.world import World

SHORT = {  # the broker's own codes of what is well known; others are made from the symbol
    "RELIANCE": "RELIND", "HDFCBANK": "HDFBAN", "INFY": "INFTEC", "SBIN": "STABAN", "TCS": "TCS", "ICICIBANK": "ICIBAN",
    "NIFTY 50": "NIFTY", "NIFTY BANK": "CNXBAN", "NIFTY": "NIFTY", "BANKNIFTY": "CNXBAN", "SENSEX": "BSESEN",
}  # fmt: skip
INDEX_CODES = {"NIFTY": "NIFTY 50", "BANKNIFTY": "NIFTY BANK", "FINNIFTY": "NIFTY FINANCIAL", "MIDCPNIFTY": "NIFTY MIDCAP"}
ISIN = {
    "RELIANCE": "INE002A01018",
    "HDFCBANK": "INE040A01034",
    "INFY": "INE009A01021",
    "SBIN": "INE062A01020",
    "TCS": "INE467B01029",
    "ICICIBANK": "INE090A01021",
}
RIGHTS = {"CE": "Call", "PE": "Put"}
ROOMS = {"NSE": "4", "NFO": "4", "BSE": "1", "BFO": "8", "CDS": "13", "MCX": "6"}
FILES = {"NSE": "NSE", "BSE": "BSE", "NFO": "FONSE", "BFO": "FOBSE", "CDS": "CDNSE", "MCX": "MCX"}
_CASH = (  # the columns of NSEScripMaster.txt that anybody reads, with the place of each
    "Token ShortName Series CompanyName ticksize Lotsize DateOfListing DateOfDeListing IssuePrice FaceValue ISINCode 52WeeksHigh "
    "52WeeksLow LifeTimeHigh LifeTimeLow HighDate LowDate Symbol InstrumentType PermittedToTrade IssueCapital WarningPercent "
    "FreezePercent CreditRating IssueRate IssueStartDate InterestPaymentDate IssueMaturityDate BoardLotQty Name ListingDate "
    "ExpulsionDate ReAdmissionDate RecordDate ExpiryDate NoDeliveryStartDate NoDeliveryEndDate MFill AON ParticipantInMarketIndex "
    "BookClsStartDate BookClsEndDate EGM AGM Interest Bonus Rights Dividends LocalUpdateDateTime DeleteFlag Remarks "
    "NormalMarketStatus OddLotMarketStatus SpotMarketStatus AuctionMarketStatus NormalMarketEligibility OddLotlMarketEligibility "
    "SpotMarketEligibility AuctionlMarketEligibility MarginPercentage ExchangeCode"
)
_BSE = (
    "Token ShortName Series CompanyName TickSize LotSize ScripCode MarketLot BCastFlag AVMBuyMargin AVMSellMargin ScripID ScripName "
    "GroupName NdFlag NDSDate NDEDate SuspStatus avmflag SuspensionReason Suspensiondate DateOfListing DateOfDeListing IssuePrice "
    "FaceValue ISINCode 52WeeksHigh 52WeeksLow LifeTimeHigh LifeTimeLow HighDate LowDate MarginPercentage ExchangeCode"
)
_CONTRACTS = (
    "Token InstrumentName ShortName Series ExpiryDate StrikePrice OptionType CALevel PermittedToTrade IssueCapital WarningQty FreezeQty "
    "CreditRating NormalMarketStatus OddLotMarketStatus SpotMarketStatus AuctionMarketStatus NormalMarketEligibility "
    "OddLotMarketEligibility SpotMarketEligibility AuctionMarketEligibility IssueRate IssueStartDate InterestPaymentDate "
    "IssueMaturityDate MarginPercentage MinimumLotQty LotSize TickSize CompanyName ListingDate ExpulsionDate ReAdmissionDate RecordDate "
    "LowPriceRange HighPriceRange SecurityExpiryDate NoDeliveryStartDate NoDeliveryEndDate MF AON ParticipantInMarketIndex "
    "BookClsStartDate BookClsEndDate ExcerciseStartDate ExcerciseEndDate OldToken AssetInstrument AssetName AssetToken IntrinsicValue "
    "ExtrinsicValue ExcerciseStyle EGM AGM Interest Bonus Rights Dividends ExAllowed ExRejectionAllowed PlAllowed IsThisAsset "
    "IsCorpAdjusted LocalUpdateDatetime DeleteFlag Remarks BasePrice ExchangeCode"
)
_COMMODITIES = (
    "Token InstrumentName ShortName Series CompanyName TickSize LotSize ExpiryDate OptionType StrikePrice StartDate EndDate ExpiryMonth "
    "MarketLot MarginPercentage LowerCktLimit UpperCktLimit OpenInterest LifeTimeLow LifeTimeHigh LowPriceRange HighPriceRange "
    "QuantityUnit PriceUnit DeliveryUnit Exchange ExchangeCode"
)
COLUMNS = {
    name: text.split()
    for name, text in {
        "NSE": _CASH,
        "BSE": _BSE,
        "FONSE": _CONTRACTS,
        "FOBSE": _CONTRACTS,
        "CDNSE": _CONTRACTS,
        "MCX": _COMMODITIES,
    }.items()
}


@dataclass(frozen=True, slots=True)
class Scrip:
    """One listing in the broker's words. `room` is the stream's name of its quotes."""

    listing: Listing
    code: str
    token: str

    @property
    def exchange(self) -> str:
        return self.listing.exchange

    @property
    def room(self) -> str:
        return f"{ROOMS[self.exchange]}.1!{self.token}"

    @property
    def depth_room(self) -> str:
        return f"{ROOMS[self.exchange]}.2!{self.token}"

    @property
    def expiry(self) -> str:
        """`24-Nov-2026`; empty for what does not expire."""
        return f"{self.listing.expiry:%d-%b-%Y}" if self.listing.expiry is not None else ""

    @property
    def right(self) -> str:
        return RIGHTS.get(self.listing.kind, "Others")

    @property
    def product(self) -> str:
        return {"FUT": "Futures", "CE": "Options", "PE": "Options"}.get(self.listing.kind, "Cash")

    @property
    def strike(self) -> float:
        return self.listing.strike if self.listing.kind in RIGHTS else 0.0


class Names:
    """Today's scrips by our listing's key, and by what a request names."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._of: object = None
        self._by_key: dict[str, Scrip] = {}
        self._by_words: dict[tuple[str, str, date | None, float, str], Scrip] = {}
        self._master: bytes = b""

    def all(self) -> Mapping[str, Scrip]:
        listings = self._world.market.listings
        if self._of != (self._world.day, len(listings)):
            self._of = (self._world.day, len(listings))
            codes = _codes(listings.values())
            self._by_key = {key: Scrip(one, codes[_root(one)], _token(one)) for key, one in listings.items()}
            self._by_words = {_words(one): one for one in self._by_key.values()}
            self._master = b""
        return self._by_key

    def of(self, listing: Listing) -> Scrip:
        return self.all()[listing.key]

    def find(self, fields: Mapping[str, Any]) -> Scrip | None:
        """The scrip that a request's stock_code, exchange_code, expiry_date, strike_price and right mean; raises ApiError."""
        self.all()
        exchange = _text(fields, "exchange_code", "exch_code").upper()
        code = _text(fields, "stock_code").upper()
        if not exchange:
            raise ApiError("Exchange-Code cannot be empty")
        if not code:
            raise ApiError("Stock-Code cannot be empty")
        if exchange in ("NSE", "BSE"):
            return self._by_words.get((exchange, code, None, 0.0, "Others"))
        expiry, right = _text(fields, "expiry_date"), _text(fields, "right").capitalize() or "Others"
        if not expiry:
            raise ApiError("Expiry-Date cannot be empty for exchange-code 'nfo'")
        try:
            strike = float(_text(fields, "strike_price") or 0)
        except ValueError as error:
            raise ApiError("Strike-Price cannot be empty for Product-Type 'options'") from error
        return self._by_words.get((exchange, code, day_of(expiry), strike, right))

    def master(self) -> bytes:
        """SecurityMaster.zip of the day."""
        scrips = self.all().values()
        if not self._master:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                for exchange, name in FILES.items():
                    info = zipfile.ZipInfo(f"{name}ScripMaster.txt", (1980, 1, 1, 0, 0, 0))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, _file(name, [one for one in scrips if one.exchange == exchange]))
                archive.writestr(zipfile.ZipInfo("MFScripMaster.txt", (1980, 1, 1, 0, 0, 0)), '"CompanyCode", "SchemeCode", "AmfiCd"\n')
            self._master = out.getvalue()
        return self._master


def day_of(text: str) -> date:
    """The day of `2026-11-24T06:00:00.000Z` or `24-Nov-2026`; raises ApiError."""
    try:
        return date.fromisoformat(text[:10]) if text[:4].isdecimal() else datetime.strptime(f"{text} +0530", "%d-%b-%Y %z").date()
    except ValueError as error:
        raise ApiError(f"Invalid expiry date: {text}") from error


def isin(listing: Listing) -> str:
    return ISIN.get(listing.symbol, f"INE{hashlib.sha256(listing.symbol.encode()).hexdigest()[:9].upper()}")


def _root(listing: Listing) -> str:
    return listing.underlying if listing.expiry is not None else listing.symbol


def _codes(listings: Iterable[Listing]) -> dict[str, str]:
    """Symbol or root -> a short code of at most six letters that nobody else has."""
    codes: dict[str, str] = {}
    taken: set[str] = set()
    for root in sorted({_root(one) for one in listings}, key=lambda root: (root not in SHORT, root)):
        code = SHORT.get(root) or "".join(letter for letter in root.upper() if letter.isalnum())[:6]
        number = 0
        while code in taken and root not in SHORT:
            number += 1
            code = f"{code[: 6 - len(str(number))]}{number}"
        taken.add(code)
        codes[root] = code
    return codes


def _token(listing: Listing) -> str:
    return listing.symbol if listing.kind == "INDEX" else str(listing.exchange_token)


def _words(one: Scrip) -> tuple[str, str, date | None, float, str]:
    return (one.exchange, one.code, one.listing.expiry, one.strike, one.right)


def _text(fields: Mapping[str, Any], *names: str) -> str:
    return next((str(fields[name]).strip() for name in names if fields.get(name) not in (None, "")), "")


def _file(name: str, scrips: Iterable[Scrip]) -> str:
    """One text file: the NSE one has a space before each quoted name of its header, as the broker's has."""
    columns, out = COLUMNS[name], io.StringIO()
    out.write((", " if name == "NSE" else ",").join(f'"{column}"' for column in columns) + "\r\n")
    writer = csv.DictWriter(out, columns, restval="", quoting=csv.QUOTE_NONNUMERIC)
    for one in scrips:
        writer.writerow(_cash(one) if name in ("NSE", "BSE") else _contract(one, name))
    return out.getvalue()


def _cash(one: Scrip) -> dict[str, Any]:
    """A share or an index. NSE's ticksize is 0.01 whatever the tick is; WarningPercent and FreezePercent are the day's circuits."""
    listing, is_index = one.listing, one.listing.kind == "INDEX"
    row: dict[str, Any] = {"Token": one.token, "ShortName": one.code}
    row |= {"CompanyName": listing.name, "ISINCode": "" if is_index else isin(listing)}
    row |= {"52WeeksHigh": listing.previous_close * 1.2, "52WeeksLow": listing.previous_close * 0.8, "ExchangeCode": listing.symbol}
    if one.exchange == "BSE":
        return {**row, "Series": "DR", "TickSize": listing.previous_close, "LotSize": 1, "ScripCode": one.token, "ScripID": listing.symbol}
    circuits = {"WarningPercent": listing.upper_circuit, "FreezePercent": listing.lower_circuit}
    return {**row, **circuits, "Series": "0" if is_index else "EQ", "ticksize": 0.01, "Lotsize": 1, "PermittedToTrade": 0}


def _contract(one: Scrip, name: str) -> dict[str, Any]:
    listing, future = one.listing, one.listing.kind == "FUT"
    on_index = listing.underlying in INDEX_CODES or listing.underlying in ("SENSEX", "BANKEX")
    word = {"FONSE": "IDX", "FOBSE": "IND"}.get(name, "IDX") if on_index else "STK"
    row: dict[str, Any] = {"Token": one.token, "InstrumentName": f"{'FUT' if future else 'OPT'}{word}", "ShortName": one.code}
    row |= {"Series": "FUTURE" if future else "OPTION", "ExpiryDate": one.expiry, "StrikePrice": f"{one.strike:g}"}
    row |= {"OptionType": "XX" if future else listing.kind, "LotSize": listing.lot, "TickSize": round(listing.tick_size * 100)}
    row |= {"CompanyName": listing.name, "ExchangeCode": INDEX_CODES.get(listing.underlying, listing.underlying)}
    if name != "MCX":
        row |= {"FreezeQty": 0, "BasePrice": round(listing.previous_close * 100), "AssetInstrument": one.exchange}
        row |= {"LowPriceRange": listing.lower_circuit, "HighPriceRange": listing.upper_circuit}
    return row
