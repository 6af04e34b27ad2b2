"""A row of the demat account in each broker's words, as its simulator sends it."""

from types import ModuleType
from typing import Any

import pytest

import brokers.angelone.mapping as angelone
import brokers.groww.mapping as groww
import brokers.icici.mapping as icici
import brokers.upstox.mapping as upstox
import brokers.zerodha.mapping as zerodha
from core.errors import DataError


class Nothing:
    """A snapshot that knows no instrument."""

    def by_key(self, key: str) -> None:
        return None

    def by_token(self, token: object) -> None:
        return None

    def by_token_start(self, beginning: str) -> None:
        return None


KITE = {
    "tradingsymbol": "SBIN",
    "exchange": "NSE",
    "quantity": 10,
    "t1_quantity": 5,
    "average_price": 560.5,
    "last_price": 570,
    "close_price": 565,
}
UPSTOX = {**KITE, "trading_symbol": "SBIN", "instrument_token": "NSE_EQ|INE062A01020"}
ANGEL = {
    "tradingsymbol": "SBIN-EQ",
    "exchange": "NSE",
    "symboltoken": "3045",
    "quantity": "15",
    "averageprice": "560.5",
    "ltp": 570,
    "close": 565,
}


@pytest.mark.parametrize(("mapping", "row"), [(zerodha, KITE), (upstox, UPSTOX), (angelone, ANGEL)], ids=["zerodha", "upstox", "angelone"])
def test_a_holding_counts_shares_that_still_settle(mapping: ModuleType, row: dict[str, Any]) -> None:
    found = mapping.holding(row, Nothing())
    assert (found.instrument.key, found.quantity, found.average_price) == ("NSE:SBIN", 15, 560.5)
    assert (found.last_price, found.close_price) == (570.0, 565.0)
    for missing in ("quantity", "exchange"):
        with pytest.raises(DataError, match="holding"):
            mapping.holding({key: value for key, value in row.items() if key != missing}, Nothing())
    with pytest.raises(DataError, match="holding"):
        mapping.holding({**row, "quantity": "many"}, Nothing())


GROWW = {"isin": "INE062A01020", "trading_symbol": "SBIN", "quantity": 15, "average_price": 560.5, "t1_quantity": 5.0}
DEMAT = {"stock_code": "STABAN", "quantity": "10", "demat_total_bulk_quantity": "15", "blocked_quantity": "5"}
PRICED = {
    "stock_code": "STABAN",
    "exchange_code": "NSE",
    "quantity": "15",
    "average_price": "560.50",
    "current_market_price": "570.00",
    "change_percentage": "0.88",
}


def test_groww_tells_neither_exchange_nor_price_of_a_holding() -> None:
    found = groww.holding(GROWW, Nothing())  # type: ignore[arg-type]
    assert (found.instrument.key, found.quantity, found.average_price) == ("NSE:SBIN", 15, 560.5)
    assert (found.last_price, found.close_price) == (0.0, 0.0)
    for garbled in ({"quantity": "many"}, {"quantity": -1}, {"average_price": "nan"}, {"trading_symbol": None, "quantity": None}):
        with pytest.raises(DataError, match="holding"):
            groww.holding({**GROWW, **garbled}, Nothing())  # type: ignore[arg-type]


def test_icici_tells_how_many_in_one_book_and_at_what_price_in_another() -> None:
    found = icici.holding(DEMAT, {"STABAN": PRICED}, Nothing())  # type: ignore[arg-type]
    assert (found.instrument.key, found.quantity, found.average_price) == ("NSE:STABAN", 15, 560.5)
    assert (found.last_price, found.close_price) == (570.0, 565.03)
    moved_in = icici.holding(DEMAT, {}, Nothing())  # type: ignore[arg-type]
    assert (moved_in.quantity, moved_in.average_price, moved_in.last_price, moved_in.close_price) == (15, 0.0, 0.0, 0.0)
    for garbled in ({"demat_total_bulk_quantity": "1.5"}, {"demat_total_bulk_quantity": "many"}, {"stock_code": ""}):
        with pytest.raises(DataError, match="holding"):
            icici.holding({**DEMAT, **garbled}, {}, Nothing())  # type: ignore[arg-type]
