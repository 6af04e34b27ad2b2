"""Two brokers' dumps held against each other: what is one contract, what is not, and why."""

from datetime import date

import pytest

from brokers import registry
from core.ports import Token
from core.types import Instrument, Kind
from data_ingestion.joins import Listing, compare, listing
from runtime import instruments
from tests.market_data import MASTERS

UPSTOX = ("upstox", MASTERS / "upstox_complete_2026-08-18.json.gz", date(2026, 8, 18))
ICICI = ("icici", MASTERS / "icici_SecurityMaster_2026-07-30.zip", date(2026, 7, 30))
ZERODHA = ("zerodha", MASTERS / "kite_instruments_NSE_NFO_2026-01-31_rebuilt.csv.gz", date(2026, 1, 31))
DAY, EXPIRY, LATER = date(2026, 8, 18), date(2026, 9, 29), date(2026, 10, 27)


def option(root: str, strike: float, expiry: date = EXPIRY, exchange: str = "NFO") -> Instrument:
    symbol = f"{root}{expiry:%y%b}{strike:g}CE".upper()
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, Kind.CALL, root, 10, 0.05, expiry, strike)


def dump(broker: str, day: date, *rows: tuple[Instrument, int]) -> Listing:
    def number(token: Token) -> str:
        return str(token) if token else ""

    return listing(broker, day, rows, number)


def test_each_contract_that_is_not_joined_has_its_reason() -> None:
    ours = dump(
        "a",
        DAY,
        (option("NIFTY", 25000), 1),
        (option("NIFTY", 25100), 2),
        (option("NIFTY", 25000, LATER), 3),
        (option("ABB", 100), 4),
        (option("ITC", 410), 5),
        (option("NIFTY", 25000, date(2026, 8, 11)), 6),
        (option("SENSEX", 82000, exchange="BFO"), 7),
    )
    theirs = dump("b", date(2026, 7, 30), (option("NIFTY", 25000), 1), (option("ITC", 430), 5), (option("TCS", 100), 4))
    found = compare(ours, theirs)
    assert (found["ours"]["contracts"], found["theirs"]["contracts"]) == (5, 3), "what expired by the later day is left out, and BFO"
    assert (found["joined"], found["under_another_key"]) == (1, 0)
    assert {what: one["examples"] for what, one in found["not_joined"].items()} == {
        "no such strike": ["NFO:NIFTY26SEP25100CE", "NFO:ITC26SEP410CE"],
        "no such expiry": ["NFO:NIFTY26OCT25000CE"],
        "no contract on its underlying": ["NFO:ABB26SEP100CE"],
    }
    assert (found["same_number"]["contracts"], found["same_number"]["joined"]) == (3, 1)
    assert {what: one["examples"] for what, one in found["same_number"]["apart"].items()} == {
        "its strike was moved": ["NFO:ITC26SEP410CE and NFO:ITC26SEP430CE"],
        "its number was given to another contract": ["NFO:ABB26SEP100CE and NFO:TCS26SEP100CE"],
    }


def test_without_the_exchanges_numbers_identity_alone_is_told() -> None:
    found = compare(dump("a", DAY, (option("NIFTY", 25000), 0)), dump("b", DAY, (option("NIFTY", 25000), 0)))
    assert (found["joined"], found["same_number"]["contracts"], found["not_joined"]) == (1, 0, {})


@pytest.mark.parametrize(
    ("broker", "token", "number"),
    [
        ("zerodha", 16296194, "63657"),
        ("upstox", "NSE_FO|50917", "50917"),
        ("upstox", "NSE_EQ|INE002A01018", ""),
        ("angelone", "NFO|50917|NIFTY27OCT26FUT", "50917"),
        ("icici", "NFO|NIFTY|2026-10-27|25000|CE|50917", "50917"),
        ("icici", "NSE|RELIND|00", ""),
        ("groww", "NSE|FNO|360ONE26AUG920PE", ""),
    ],
)
def test_the_exchanges_number_in_each_brokers_token(broker: str, token: Token, number: str) -> None:
    assert registry.get(broker).exchange_number(token) == number


@pytest.mark.skipif(not MASTERS.is_dir(), reason="the real masters are not on this machine")
def test_what_both_list_is_joined_but_for_what_the_exchange_changed_in_between() -> None:
    found = instruments.join(UPSTOX, ICICI)
    same = found["same_number"]
    assert (found["joined"], found["under_another_key"]) == (36_197, 0)
    assert (same["contracts"], same["joined"]) == (36_231, 36_011)
    assert {what: one["count"] for what, one in same["apart"].items()} == {
        "its strike was moved": 217,
        "its number was given to another contract": 3,
    }
    assert all("HINDPETRO" in example for example in same["apart"]["its strike was moved"]["examples"])
    found = instruments.join(ZERODHA, UPSTOX)
    assert (found["same_number"]["contracts"], found["same_number"]["joined"], found["same_number"]["apart"]) == (320, 320, {})


@pytest.mark.skipif(not MASTERS.is_dir(), reason="the real masters are not on this machine")
def test_the_focused_it_index_is_not_taken_for_the_sensex_50() -> None:
    rows = registry.get("icici").parse_instruments(ICICI[1].read_bytes())
    assert {row.underlying for row in rows if row.exchange == "BFO"} == {"SENSEX", "BANKEX", "FOCIT"}
