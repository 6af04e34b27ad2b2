"""Logical names: a table of twelve names on twelve dates, the grammar, strikes from the instruments of a day, tokens that come again."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

import main
from core.errors import DataError
from core.market import Calendar
from core.types import Kind
from data_ingestion import logical_names
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from data_ingestion.logical_names import FutureName, OptionName
from runtime.instruments import resolve
from tests.unit.test_instruments import DAY, dump, rows, update
from utils.config_loader import CONFIG_FOLDER, load_calendar

NAMES = (
    "NIFTY_FUT", "NIFTY_FUT_NEXT", "BANKNIFTY_FUT", "RELIANCE_FUT", "SENSEX_FUT", "NIFTY_ATM_CE", "NIFTY_WEEK_NEXT_ATM_PE",
    "NIFTY_MONTH_ATM_PE", "NIFTY_CE_+2", "NIFTY_MONTH_NEXT_PE_-3", "BANKNIFTY_ATM_CE", "SENSEX_WEEK_CE_-1",
)  # fmt: skip
TABLE = """
2020-03-16 9197/23101/31390 NIFTY20MARFUT NIFTY20APRFUT BANKNIFTY20MARFUT RELIANCE20MARFUT - NIFTY203199200CE
    NIFTY20MAR9200PE NIFTY20MAR9200PE NIFTY203199300CE NIFTY20APR9050PE BANKNIFTY2031923100CE -
2021-06-11 15799/35047/52474 NIFTY21JUNFUT NIFTY21JULFUT BANKNIFTY21JUNFUT RELIANCE21JUNFUT - NIFTY2161715800CE
    NIFTY21JUN15800PE NIFTY21JUN15800PE NIFTY2161715900CE NIFTY21JUL15650PE BANKNIFTY2161735000CE -
2022-11-18 18307/42437/61663 NIFTY22NOVFUT NIFTY22DECFUT BANKNIFTY22NOVFUT RELIANCE22NOVFUT - NIFTY22NOV18300CE
    NIFTY22D0118300PE NIFTY22NOV18300PE NIFTY22NOV18400CE NIFTY22DEC18150PE BANKNIFTY22NOV42400CE -
2023-09-06 19611/44409/65880 NIFTY23SEPFUT NIFTY23OCTFUT BANKNIFTY23SEPFUT RELIANCE23SEPFUT SENSEX23SEPFUT NIFTY2390719600CE
    NIFTY2391419600PE NIFTY23SEP19600PE NIFTY2390719700CE NIFTY23OCT19450PE BANKNIFTY2390644400CE SENSEX2390865800CE
2024-05-02 22648/49231/74611 NIFTY24MAYFUT NIFTY24JUNFUT BANKNIFTY24MAYFUT RELIANCE24MAYFUT SENSEX24MAYFUT NIFTY2450222650CE
    NIFTY2450922650PE NIFTY24MAY22650PE NIFTY2450222750CE NIFTY24JUN22500PE BANKNIFTY2450849200CE SENSEX2450374500CE
2024-11-14 23532/50179/77580 NIFTY24NOVFUT NIFTY24DECFUT BANKNIFTY24NOVFUT RELIANCE24NOVFUT SENSEX24NOVFUT NIFTY24N1423550CE
    NIFTY24N2123550PE NIFTY24NOV23550PE NIFTY24N1423650CE NIFTY24DEC23400PE BANKNIFTY24NOV50200CE SENSEX24N1477500CE
2025-08-28 24500/53820/80080 NIFTY25SEPFUT NIFTY25OCTFUT BANKNIFTY25SEPFUT RELIANCE25SEPFUT SENSEX25SEPFUT NIFTY25AUG24500CE
    NIFTY2590224500PE NIFTY25AUG24500PE NIFTY25AUG24600CE NIFTY25SEP24350PE BANKNIFTY25AUG53800CE SENSEX2590480000CE
2025-12-29 25942/58932/84695 NIFTY25DECFUT NIFTY26JANFUT BANKNIFTY25DECFUT RELIANCE26JANFUT SENSEX26JANFUT NIFTY25DEC25950CE
    NIFTY2610625950PE NIFTY25DEC25950PE NIFTY25DEC26050CE NIFTY26JAN25800PE BANKNIFTY25DEC58900CE SENSEX2610184600CE
2026-01-15 25732/59110/83382 NIFTY26JANFUT NIFTY26FEBFUT BANKNIFTY26JANFUT RELIANCE26JANFUT SENSEX26JANFUT NIFTY2612025750CE
    NIFTY26JAN25750PE NIFTY26JAN25750PE NIFTY2612025850CE NIFTY26FEB25600PE BANKNIFTY26JAN59100CE SENSEX2612283300CE
2026-02-27 25178/60529/81287 NIFTY26MARFUT NIFTY26APRFUT BANKNIFTY26MARFUT RELIANCE26MARFUT SENSEX26MARFUT NIFTY2630225200CE
    NIFTY2631025200PE NIFTY26MAR25200PE NIFTY2630225300CE NIFTY26APR25050PE BANKNIFTY26MAR60500CE SENSEX2630581200CE
2026-11-20 25025/58999/81851 NIFTY26NOVFUT NIFTY26DECFUT BANKNIFTY26NOVFUT RELIANCE26DECFUT SENSEX26NOVFUT NIFTY26NOV25000CE
    NIFTY26D0125000PE NIFTY26NOV25000PE NIFTY26NOV25100CE NIFTY26DEC24850PE BANKNIFTY26NOV59000CE SENSEX26NOV81800CE
2026-11-23 25025/58999/81851 NIFTY26DECFUT NIFTY27JANFUT BANKNIFTY26DECFUT RELIANCE26DECFUT SENSEX26NOVFUT NIFTY26NOV25000CE
    NIFTY26D0125000PE NIFTY26NOV25000PE NIFTY26NOV25100CE NIFTY26DEC24850PE BANKNIFTY26NOV59000CE SENSEX26NOV81800CE
"""
"""Day, prices of NIFTY/BANKNIFTY/SENSEX (any near the day's), and what each name means then; `-`: it has no such contract yet.

2023-09-06 is the first Wednesday of BANKNIFTY's weeklies, 2024-11-14 the day after its last; on 2025-08-28 NIFTY's last Thursday
expires; 2025-12-29 is E-1 of an index and past E-2 of a stock; 2026-01-15 is a holiday; the week of 2026-03-02 ends early; the monthly
expiry of November 2026 is Monday the 23rd.
"""
LOTS = {  # NIFTY_FUT, NIFTY_FUT_NEXT: the lot belongs to the contract, not to the day
    date(2024, 4, 24): (50, 25), date(2025, 1, 29): (25, 75), date(2025, 12, 29): (75, 65), date(2026, 11, 23): (65, 65),
}  # fmt: skip


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar()


def lines() -> list[list[str]]:
    words = TABLE.split()
    return [words[start : start + 14] for start in range(0, len(words), 14)]


def fixed(value: float) -> Callable[[str], float]:
    return lambda key: value


def root_of(name: str) -> str:
    return name.partition("_")[0]


@pytest.mark.parametrize("line", lines(), ids=lambda line: line[0])
def test_twelve_names_on_twelve_dates(tmp_path: Path, line: list[str]) -> None:
    day, prices = date.fromisoformat(line[0]), dict(zip(("NIFTY", "BANKNIFTY", "SENSEX"), map(float, line[1].split("/")), strict=True))
    for name, symbol in zip(NAMES, line[2:], strict=True):
        if symbol == "-":
            with pytest.raises(DataError):
                resolve(CONFIG_FOLDER, tmp_path, "zerodha", name, day, prices.get(root_of(name)))
            continue
        found = resolve(CONFIG_FOLDER, tmp_path, "zerodha", name, day, prices.get(root_of(name)))
        assert found["symbol"] == symbol, name
        assert date.fromisoformat(found["expiry"]) >= day
        assert found["exchange"] == ("BFO" if name.startswith("SENSEX") else "NFO")
        assert "no snapshot of that date" in found["by"]


def test_the_table_is_twelve_by_twelve() -> None:
    assert len(NAMES) == 12
    assert len(lines()) == 12
    assert "2026-11-23" in {line[0] for line in lines()}


@pytest.mark.parametrize(
    ("name", "day", "doubt"),
    [
        ("NIFTY_FUT", date(2026, 11, 20), ""),
        ("NIFTY_FUT", date(2019, 6, 27), "the calendar of 2019 is assumed"),
        ("NIFTY_FUT", date(2026, 12, 29), "the calendar of 2027 is provisional"),
        ("NIFTY_FUT", date(2027, 12, 30), "the holidays of 2028 are not known"),
        ("GOLD_FUT", date(2026, 11, 20), "GOLD is taken for a stock; whether it had futures then was not checked"),
    ],
)
def test_what_the_calendar_does_not_know_for_certain_is_said(tmp_path: Path, name: str, day: date, doubt: str) -> None:
    told = resolve(CONFIG_FOLDER, tmp_path, "zerodha", name, day)["by"]
    assert told.partition("; ")[2].startswith(doubt)
    assert bool(doubt) == ("; " in told)


@pytest.mark.parametrize("day", [date(2028, 1, 3), date.max])
def test_a_day_beyond_the_listed_holidays_is_refused(tmp_path: Path, day: date) -> None:
    with pytest.raises(DataError, match=r"holidays.yaml ends with 2027"):
        resolve(CONFIG_FOLDER, tmp_path, "zerodha", "NIFTY_FUT", day)


@pytest.mark.parametrize("day", LOTS)
def test_lots_are_of_the_contract(calendar: Calendar, day: date) -> None:
    found = [logical_names.by_rules(FutureName("NIFTY", months), day, calendar, None) for months in (0, 1)]
    assert tuple(one.lot for one in found) == LOTS[day]
    option = logical_names.by_rules(OptionName("NIFTY", "MONTH", Kind.CALL, 0), day, calendar, fixed(24000.0))
    assert option.lot == calendar.contracts.lot("NIFTY", calendar.monthly_expiry("NIFTY", option.expiry.year, option.expiry.month))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("NIFTY_FUT", FutureName("NIFTY", 0)),
        ("M&M_FUT_FAR", FutureName("M&M", 2)),
        ("BAJAJ-AUTO_FUT_NEXT", FutureName("BAJAJ-AUTO", 1)),
        ("NIFTY_ATM_CE", OptionName("NIFTY", "", Kind.CALL, 0)),
        ("NIFTY_WEEK_NEXT_ATM_PE", OptionName("NIFTY", "WEEK_NEXT", Kind.PUT, 0)),
        ("NIFTY_CE_+2", OptionName("NIFTY", "", Kind.CALL, 2)),
        ("NIFTY_MONTH_PE_-10", OptionName("NIFTY", "MONTH", Kind.PUT, -10)),
        ("NIFTYNXT50_ATM_CE", OptionName("NIFTYNXT50", "", Kind.CALL, 0)),
        ("NIFTY_CE", None),
        ("NIFTY_CE_2", None),
        ("NIFTY_DAY_ATM_CE", None),
        ("NIFTY_ATM_XX", None),
        ("NFO:NIFTY26NOVFUT", None),
        ("RELIANCE", None),
        ("nifty_fut", None),
    ],
)
def test_the_grammar(name: str, meaning: FutureName | OptionName | None) -> None:
    assert logical_names.parse(name) == meaning


# --- the instruments of a day -----------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path, calendar: Calendar) -> InstrumentSnapshot:
    return update(InstrumentStore(tmp_path / "instruments", calendar), dump()).snapshot


@pytest.mark.parametrize(
    ("name", "price", "symbol"),
    [
        ("NIFTY_ATM_CE", 25010.0, "NIFTY26NOV25000CE"),
        ("NIFTY_ATM_CE", 25025.0, "NIFTY26NOV25000CE"),  # of two, the lower
        ("NIFTY_ATM_PE", 25025.1, "NIFTY26NOV25050PE"),
        ("NIFTY_CE_+2", 25010.0, "NIFTY26NOV25100CE"),
        ("NIFTY_PE_-3", 25010.0, "NIFTY26NOV24850PE"),
        ("NIFTY_MONTH_ATM_CE", 25010.0, "NIFTY26NOV25000CE"),
    ],
)
def test_strikes_are_those_listed(snapshot: InstrumentSnapshot, name: str, price: float, symbol: str) -> None:
    found = snapshot.resolve(name, DAY, fixed(price))
    assert (found.symbol, found.lot) == (symbol, 65)


def test_the_price_is_asked_of_the_underlying(snapshot: InstrumentSnapshot) -> None:
    asked: list[str] = []

    def price(key: str) -> float:
        asked.append(key)
        return 25000.0

    snapshot.resolve("NIFTY_ATM_CE", DAY, price)
    snapshot.resolve("NIFTY_FUT", DAY, price)
    assert asked == ["NSE:NIFTY 50"]
    assert logical_names.underlying_key("RELIANCE") == "NSE:RELIANCE"


@pytest.mark.parametrize(
    ("name", "price", "said"),
    [
        ("NIFTY_ATM_CE", None, "needs the price of NSE:NIFTY 50"),
        ("NIFTY_CE_+900", 25000.0, "24000 to 25950 are listed"),
        ("NIFTY_WEEK_ATM_CE", 25000.0, "no weekly options"),  # this dump lists the monthly only
        ("NIFTY_MONTH_NEXT_ATM_CE", 25000.0, "it has 2026-11-23"),
        ("RELIANCE_ATM_CE", 1400.0, "no options in the instruments of 2026-11-20"),
    ],
)
def test_what_there_is_not_is_said(snapshot: InstrumentSnapshot, name: str, price: float | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        snapshot.resolve(name, DAY, None if price is None else fixed(price))


def test_without_the_days_instruments_a_stocks_strikes_are_not_known(calendar: Calendar) -> None:
    with pytest.raises(DataError, match="strikes of RELIANCE are only in the instruments of a day"):
        logical_names.by_rules(OptionName("RELIANCE", "MONTH", Kind.CALL, 0), DAY, calendar, fixed(1400.0))


def test_a_stock_option_moves_on_after_e_2_and_an_index_option_after_its_expiry(calendar: Calendar) -> None:
    listed = [date(2026, 11, 23), date(2026, 12, 29)]
    stock, index = OptionName("RELIANCE", "MONTH", Kind.CALL, 0), OptionName("NIFTY", "MONTH", Kind.CALL, 0)
    chosen = {day: logical_names.choose_expiry(stock, listed, day, calendar) for day in (date(2026, 11, 19), date(2026, 11, 20))}
    assert list(chosen.values()) == listed
    assert logical_names.choose_expiry(index, listed, date(2026, 11, 23), calendar) == listed[0]
    assert logical_names.choose_expiry(index, listed, date(2026, 11, 25), calendar) == listed[1]


def test_a_token_that_comes_again_after_an_expiry_means_each_days_own_contract(tmp_path: Path, calendar: Calendar) -> None:
    store = InstrumentStore(tmp_path / "instruments", calendar)
    before = update(store, dump()).snapshot
    token = 1000 * 256 + 2
    later = DAY + timedelta(days=5)
    old = before.resolve("NIFTY_FUT", DAY)
    reused = [line.replace(f"{1001 * 256 + 2},1001,NIFTY26DECFUT", f"{token},1000,NIFTY26DECFUT") for line in rows() if "26NOV" not in line]
    after = update(store, dump(reused), later)
    assert after.accepted, after.reason
    new = after.snapshot.by_token(token)
    assert new is not None
    assert (old.symbol, new.symbol) == ("NIFTY26NOVFUT", "NIFTY26DECFUT")
    assert before.by_token(token) == old
    assert after.snapshot.by_key(old.key) is None
    with pytest.raises(DataError, match="expired on 2026-11-23"):
        after.snapshot.resolve("NFO:NIFTY26NOVFUT", later)
    reopened = store.open(DAY)
    assert reopened is not None
    assert reopened.by_token(token) == old


def test_the_command_takes_the_price(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["instruments", "resolve", "NIFTY_WEEK_ATM_CE", "--on", "2026-11-23", "--state", str(tmp_path)]
    assert main.main([*words, "--price", "25010"]) == 0
    assert "NFO:NIFTY26NOV25000CE" in capsys.readouterr().out
    assert main.main(words) == 2
    assert "give it with --price, or name the contract itself" in capsys.readouterr().err
