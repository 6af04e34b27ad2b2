"""A row of the demat account in each broker's words, as its simulator sends it."""

from types import ModuleType
from typing import Any

import pytest

import brokers.angelone.mapping as angelone
import brokers.upstox.mapping as upstox
import brokers.zerodha.mapping as zerodha
from core.errors import DataError


class Nothing:
    """A snapshot that knows no instrument."""

    def by_key(self, key: str) -> None:
        return None

    def by_token(self, token: object) -> None:
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
