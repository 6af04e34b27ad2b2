"""The day's instruments: what a snapshot answers, which dumps are refused, and what then stays in use."""

import gzip
import threading
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml

from brokers import registry
from brokers.spec import InstrumentRow
from brokers.zerodha.mapping import DumpReader, parse_instruments
from core.errors import DataError, SessionExpired, Transient
from core.market import Calendar
from core.types import IST, Account, AccountKind, Instrument, Kind
from data_ingestion.contracts import Contract, instrument_of, numbered_future, parse_contract, symbol_of
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore, InstrumentUpdate
from runtime import instruments as reporting
from runtime import venue
from tests.market_data import MASTERS

MARKET = Path(__file__).parents[2] / "config" / "market"
HEADER = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange"
DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 8, 35, tzinfo=IST)


class Spec:
    name = "zerodha"

    @property
    def parse_instruments(self) -> type[DumpReader]:
        return DumpReader


class Source:
    """A broker that answers with this dump, or with this failure."""

    def __init__(self, dump: str | bytes | Exception) -> None:
        self.dump = dump
        self.asked = 0

    def instruments(self) -> bytes:
        self.asked += 1
        if isinstance(self.dump, Exception):
            raise self.dump
        return self.dump if isinstance(self.dump, bytes) else self.dump.encode()


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return Calendar({name: yaml.safe_load((MARKET / f"{name}.yaml").read_text()) for name in ("holidays", "sessions", "contracts")})


@pytest.fixture
def store(tmp_path: Path, calendar: Calendar) -> InstrumentStore:
    return InstrumentStore(tmp_path / "instruments", calendar)


def rows(*, stocks: int = 60, drop: Sequence[str] = ()) -> list[str]:
    """A small dump in Kite's columns: indices, futures of three months, weekly options, F&O and other stocks."""
    made = ["256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE", "738561,2885,RELIANCE,RELIANCE INDUSTRIES,0,,0,0.1,1,EQ,NSE,NSE"]
    made += ["341249,1333,HDFCBANK,HDFC BANK,0,,0,0.05,1,EQ,NSE,NSE"]
    for root, lot, base in (("NIFTY", 65, 1000), ("BANKNIFTY", 30, 2000), ("RELIANCE", 500, 3000)):
        for step, (month, expiry) in enumerate((("NOV", "2026-11-23"), ("DEC", "2026-12-29"), ("JAN", "2027-01-25"))):
            made.append(f"{(base + step) * 256 + 2},{base + step},{root}26{month}FUT,{root},0,{expiry},0,0.1,{lot},FUT,NFO-FUT,NFO")
    for step, strike in enumerate(range(24000, 26000, 50)):
        made.append(f"{(5000 + step) * 256 + 2},{5000 + step},NIFTY26NOV{strike}CE,NIFTY,0,2026-11-23,{strike},0.05,65,CE,NFO-OPT,NFO")
        made.append(f"{(6000 + step) * 256 + 2},{6000 + step},NIFTY26NOV{strike}PE,NIFTY,0,2026-11-23,{strike},0.05,65,PE,NFO-OPT,NFO")
    made += [f"{(8000 + n) * 256 + 1},{8000 + n},STOCK{n},A COMPANY,0,,0,0.05,1,EQ,NSE,NSE" for n in range(stocks)]
    return [row for row in made if not any(f",{symbol}," in row for symbol in drop)]


def dump(lines: Sequence[str] | None = None) -> str:
    return "\n".join([HEADER, *(rows() if lines is None else lines)]) + "\n"


def update(store: InstrumentStore, text: str | bytes | Exception, day: date = DAY, **options: object) -> InstrumentUpdate:
    return store.update(Source(text), Spec(), day, NOW, **options)  # type: ignore[arg-type]


def taken(store: InstrumentStore) -> InstrumentSnapshot:
    done = update(store, dump())
    assert done.accepted
    return done.snapshot


def test_a_good_dump_answers_by_key_and_token(store: InstrumentStore) -> None:
    snapshot = taken(store)
    future = snapshot.by_key("NFO:NIFTY26NOVFUT")
    assert future is not None
    assert (future.kind, future.underlying, future.lot, future.tick_size, future.expiry) == (
        Kind.FUTURE,
        "NIFTY",
        65,
        0.1,
        date(2026, 11, 23),
    )
    assert snapshot.by_token(1000 * 256 + 2) is future
    assert snapshot.token(future) == 1000 * 256 + 2
    assert snapshot.by_key("NFO:NIFTY26OCTFUT") is None
    assert snapshot.by_token(7) is None
    assert len(snapshot) == len(rows())
    assert snapshot.day == DAY
    assert snapshot.counts == {"NSE": 63, "NFO": 89}


def test_a_brokers_tokens_may_be_texts(store: InstrumentStore, calendar: Calendar) -> None:
    class Texts(DumpReader):
        def __iter__(self) -> Iterator[InstrumentRow]:
            return (msgspec.structs.replace(row, token=f"NSE_FO|{row.token}") for row in super().__iter__())

    class Other(Spec):
        @property
        def parse_instruments(self) -> type[DumpReader]:
            return Texts

    done = store.update(Source(dump()), Other(), DAY, NOW)
    future = InstrumentSnapshot(done.snapshot.path, calendar).by_token("NSE_FO|256002")
    assert future is not None
    assert (future.key, done.snapshot.token(future)) == ("NFO:NIFTY26NOVFUT", "NSE_FO|256002")
    assert done.snapshot.by_token(256002) is None


def test_freeze_is_floored_to_lots_and_fno_stocks_are_known_by_their_futures(store: InstrumentStore) -> None:
    snapshot = taken(store)
    assert snapshot.resolve("NIFTY_FUT", DAY).freeze == 1755  # 1800 = 27 lots of 65 and a part
    assert snapshot.resolve("BANKNIFTY_FUT", DAY).freeze == 600
    assert snapshot.resolve("RELIANCE", DAY).is_fno
    assert not snapshot.resolve("HDFCBANK", DAY).is_fno
    assert snapshot.resolve("RELIANCE", DAY).freeze is None


@pytest.mark.parametrize(
    ("name", "on", "key"),
    [
        ("NIFTY_FUT", date(2026, 11, 20), "NFO:NIFTY26NOVFUT"),  # E-1 of the expiry on Monday 23 November
        ("NIFTY_FUT", date(2026, 11, 23), "NFO:NIFTY26DECFUT"),
        ("NIFTY_FUT_NEXT", date(2026, 11, 20), "NFO:NIFTY26DECFUT"),
        ("NIFTY_FUT_FAR", date(2026, 11, 20), "NFO:NIFTY26JANFUT"),
        ("RELIANCE_FUT", date(2026, 11, 19), "NFO:RELIANCE26NOVFUT"),  # not in the snapshot of the 20th's past: by the rules
        ("RELIANCE_FUT", date(2026, 11, 20), "NFO:RELIANCE26DECFUT"),  # a stock rolls after E-2
        ("NIFTY_FUT", date(2025, 3, 27), "NFO:NIFTY25APRFUT"),
        ("RELIANCE", DAY, "NSE:RELIANCE"),
        ("NIFTY26DECFUT", DAY, "NFO:NIFTY26DECFUT"),
        ("NFO:NIFTY26NOV25000PE", DAY, "NFO:NIFTY26NOV25000PE"),
        ("NIFTY", DAY, "NSE:NIFTY 50"),
    ],
)
def test_names_resolve_on_a_date(store: InstrumentStore, name: str, on: date, key: str) -> None:
    assert taken(store).resolve(name, on).key == key


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NSE:RELIANC", "'NSE:RELIANC' is not in the instruments of 2026-11-20; did you mean NSE:RELIANCE"),
        ("nifty_fut", "did you mean NIFTY_FUT?"),
        ("reliance", "did you mean NSE:RELIANCE"),
        ("NIFTYFUT", "did you mean NIFTY_FUT or NFO:NIFTY"),
        ("NFO:NIFTY26OCTFUT", "NFO:NIFTY26OCTFUT expired on 2026-10-27, before 2026-11-20; NIFTY_FUT is NFO:NIFTY26NOVFUT now"),
        ("NIFTY2610625000CE", "expired on 2026-01-06"),
        ("GOLD_FUT", "GOLD has no futures in the instruments of 2026-11-20"),
    ],
)
def test_a_name_that_does_not_resolve_says_what_is_near_or_in_force(store: InstrumentStore, name: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        taken(store).resolve(name, DAY)
    assert says in str(caught.value)


def test_beyond_the_last_listed_month_nothing_is_invented(store: InstrumentStore) -> None:
    with pytest.raises(DataError, match="no far future for 2026-11-23: the instruments of 2026-11-20 hold NFO:NIFTY26NOVFUT"):
        taken(store).resolve("NIFTY_FUT_FAR", date(2026, 11, 23))


def test_a_token_of_an_unlisted_instrument_is_an_error(store: InstrumentStore, calendar: Calendar) -> None:
    stranger = instrument_of(Contract("NIFTY", Kind.FUTURE, date(2027, 2, 23)), calendar, DAY)
    with pytest.raises(DataError, match="NFO:NIFTY27FEBFUT"):
        taken(store).token(stranger)


def bad_dumps() -> Iterator[tuple[str, str, str]]:
    good = rows()
    yield "broken off in a line", dump()[:-40], "breaks off in the middle of a line"
    yield "broken off between lines", dump(good[:60]), "57 rows of NFO where 89 of 2026-11-19's still live"
    yield "an exchange gone", dump([row for row in good if not row.endswith("NFO")]), "0 rows of NFO"
    yield (
        "an index without futures",
        dump(rows(drop=[f"BANKNIFTY26{month}FUT" for month in ("NOV", "DEC", "JAN")])),
        "lacks BANKNIFTY futures",
    )
    yield "an older day's", dump([row.replace("2026-11-23", "2026-11-17") for row in good]), "expired before 2026-11-20"
    yield "empty", HEADER + "\n", "no usable row"
    yield "an error page", "<html>502 Bad Gateway</html>\n", "header lacks"
    yield "twins", dump(good + [row.replace("RELIANCE", "OTHER", 1) for row in good[:6]]), "duplicate key or token"
    yield "half of it unreadable", dump(good + ["1,2,3"] * 200), "wrong number of columns"


@pytest.mark.parametrize(("text", "reason"), [pytest.param(text, reason, id=name) for name, text, reason in bad_dumps()])
def test_a_bad_dump_is_refused_whole_and_yesterdays_stays(store: InstrumentStore, text: str, reason: str) -> None:
    update(store, dump(), date(2026, 11, 19))
    done = update(store, text)
    assert not done.accepted
    assert reason in done.reason
    assert "the instruments of 2026-11-19 stay in use" in done.reason
    assert done.snapshot.day == date(2026, 11, 19)
    assert store.days() == [date(2026, 11, 19)]
    assert [path.name for path in (done.snapshot.path.parent).iterdir()] == ["zerodha-2026-11-19.sqlite"]  # no half a file either


def test_a_bad_first_dump_leaves_nothing(store: InstrumentStore) -> None:
    with pytest.raises(DataError, match="breaks off"):
        update(store, dump()[:-40])
    assert store.open(DAY) is None


def changed(**fields: tuple[str, str]) -> list[str]:
    """The small dump with one text for another in the lines of these symbols."""
    made = rows()
    for symbol, (old, new) in fields.items():
        made = [line.replace(old, new) if f",{symbol}," in line else line for line in made]
    return made


def test_what_changed_since_yesterday_is_told_and_what_should_not_have_is_alarmed(store: InstrumentStore) -> None:
    first = update(store, dump(rows(drop=["STOCK1"])))
    assert first.drift.changes == {}
    made = changed(
        NIFTY26DECFUT=(",65,FUT", ",75,FUT"),
        BANKNIFTY26JANFUT=("2027-01-25", "2027-01-28"),
        STOCK2=(f"{8002 * 256 + 1},", f"{9002 * 256 + 1},"),
        STOCK3=(",STOCK3,", ",STOCK3X,"),
    )
    done = update(store, dump(made), DAY + timedelta(days=1))
    assert done.accepted
    told = {what: (count, examples) for what, (count, examples) in done.drift.changes.items()}
    assert told["new"] == (2, ("NSE:STOCK1", "NSE:STOCK3X"))
    assert told["gone"] == (1, ("NSE:STOCK3",))
    assert told["tokens given to others"] == (1, ("NSE:STOCK3 -> NSE:STOCK3X",))
    assert told["lot changed"] == (1, ("NFO:NIFTY26DECFUT 65 -> 75",))
    assert told["expiry changed"] == (1, ("NFO:BANKNIFTY26JANFUT 2027-01-25 -> 2027-01-28",))
    assert told["token changed"][0] == 1
    alarms = "\n".join(done.drift.alarms)
    assert "lot changed in 1 live instruments: NFO:NIFTY26DECFUT 65 -> 75" in alarms
    assert "NFO:NIFTY26DECFUT has lot 75, config/market/contracts.yaml says 65" in alarms
    assert "NFO:BANKNIFTY26JANFUT expires on 2027-01-28, the calendar says 2027-01-25" in alarms


def test_a_dump_whose_lots_are_all_different_is_refused(store: InstrumentStore) -> None:
    taken(store)
    done = update(store, dump([line.replace(",65,", ",1,") for line in rows()]), DAY + timedelta(days=1))
    assert not done.accepted
    assert "live contracts of NFO have another lot, expiry or strike" in done.reason
    assert done.snapshot.day == DAY


def test_a_token_that_is_used_again_after_an_expiry_means_the_new_contract_from_that_day_on(store: InstrumentStore) -> None:
    token = 1000 * 256 + 2
    before = taken(store)
    later = [
        line.replace("2026-11-23,0,0.1,65,FUT", "2027-02-23,0,0.1,65,FUT").replace("NIFTY26NOVFUT", "NIFTY27FEBFUT") for line in rows()
    ]
    later = [line for line in later if "2026-11-23" not in line]
    done = update(store, dump(later), date(2026, 11, 24))
    assert done.accepted, done.reason
    old, new = before.by_token(token), done.snapshot.by_token(token)
    assert old is not None
    assert new is not None
    assert (old.key, new.key) == ("NFO:NIFTY26NOVFUT", "NFO:NIFTY27FEBFUT")
    assert done.snapshot.by_key("NFO:NIFTY26NOVFUT") is None
    assert done.drift.changes["tokens given to others"] == (1, ("NFO:NIFTY26NOVFUT -> NFO:NIFTY27FEBFUT",))
    assert not [alarm for alarm in done.drift.alarms if "token" in alarm]


def test_contracts_of_another_broker_are_found_by_what_they_are_and_not_by_their_names(store: InstrumentStore) -> None:
    snapshot = taken(store)
    theirs = Instrument(
        "NFO:NIFTY 23NOV2026 25000 CE", "NFO", "NIFTY 23NOV2026 25000 CE", Kind.CALL, "NIFTY", 65, 0.05, date(2026, 11, 23), 25000.0
    )
    ours = snapshot.same(theirs)
    assert ours is not None
    assert ours.key == "NFO:NIFTY26NOV25000CE"
    future = snapshot.same(Instrument("NFO:NIFTYX", "NFO", "NIFTYX", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 12, 29)))
    assert future is not None
    assert future.key == "NFO:NIFTY26DECFUT"
    assert snapshot.same(msgspec.structs.replace(theirs, strike=25001.0)) is None
    assert snapshot.same(Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE")) is not None


def test_known_names_must_be_there(store: InstrumentStore) -> None:
    with pytest.raises(DataError, match="lacks NSE:INFY"):
        update(store, dump(), known=["NSE:RELIANCE", "NSE:INFY"])
    assert update(store, dump(), known=["NSE:RELIANCE"]).accepted


def test_contracts_that_expired_since_yesterday_are_no_drop(store: InstrumentStore) -> None:
    update(store, dump(), date(2026, 11, 20))
    after = [row for row in rows() if "2026-11-23" not in row]  # 83 of 89 derivatives rows are gone, as they must
    done = update(store, dump(after), date(2026, 11, 25))
    assert (done.accepted, done.reason) == (True, "")


def test_a_few_rows_that_cannot_be_trusted_are_left_out_and_counted(store: InstrumentStore) -> None:
    lines = rows(stocks=600)
    twin = next(row for row in lines if ",STOCK7," in row).replace("STOCK7", "STOCK7B")
    done = update(store, dump([*lines, twin, "999,9,OLD26OCTFUT,OLD,0,2026-10-27,0,0.05,10,FUT,NFO-FUT,NFO"]))
    assert done.accepted
    assert done.counts["duplicate key or token"] == 2
    assert done.counts["expired"] == 1
    assert done.snapshot.by_key("NSE:STOCK7") is None


def test_rows_without_a_lot_or_a_tick_are_left_out_and_many_of_them_refuse_the_dump(store: InstrumentStore) -> None:
    lines = rows(stocks=600)
    bad = [
        line.replace(",0.05,1,EQ,NSE,NSE", ending)
        for line, ending in zip(lines[-2:], (",0.05,0,EQ,NSE,NSE", ",0,1,EQ,NSE,NSE"), strict=True)
    ]
    done = update(store, dump([*lines[:-2], *bad]))
    assert (done.accepted, done.counts["zero lot or tick"]) == (True, 2)
    assert done.snapshot.by_key("NSE:STOCK599") is None
    assert done.snapshot.by_key("NSE:NIFTY 50") is not None  # an index has neither by right
    much = update(store, dump([line.replace(",65,CE,", ",0,CE,") for line in lines]), DAY + timedelta(days=3))
    assert not much.accepted
    assert "40 zero lot or tick" in much.reason


def test_the_days_file_is_made_once_unless_asked_again(store: InstrumentStore) -> None:
    first = taken(store)
    source = Source(dump(rows(stocks=61)))
    assert len(store.update(source, Spec(), DAY, NOW).snapshot) == len(first)
    assert source.asked == 0
    assert len(store.update(source, Spec(), DAY, NOW, again=True).snapshot) == len(first) + 1
    assert len(first) == len(rows())  # whoever holds the old file reads on in it


def test_a_download_that_fails_keeps_yesterdays_and_a_dead_session_is_raised(store: InstrumentStore) -> None:
    with pytest.raises(Transient):
        update(store, Transient("502 from the broker"))
    update(store, dump(), date(2026, 11, 19))
    done = update(store, Transient("502 from the broker"))
    assert not done.accepted
    assert done.reason.startswith("502 from the broker")
    with pytest.raises(SessionExpired):
        update(store, SessionExpired("log in"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, calendar: Calendar) -> None:
    (tmp_path / "instruments").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="could not be written"):
        update(InstrumentStore(tmp_path / "instruments", calendar), dump())


def test_a_damaged_snapshot_says_what_to_do(store: InstrumentStore) -> None:
    path = taken(store).path
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DataError, match="remove it and run `instruments update`"):
        store.open(DAY)


def test_open_takes_the_newest_not_later(store: InstrumentStore) -> None:
    for day in (date(2026, 11, 18), date(2026, 11, 19)):
        update(store, dump(), day)
    found = store.open(DAY)
    assert found is not None
    assert found.day == date(2026, 11, 19)
    assert store.open(date(2026, 11, 17)) is None


def test_many_threads_may_ask_at_once(store: InstrumentStore) -> None:
    snapshot = taken(store)
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for number in range(300):
            key = f"NSE:STOCK{(number + offset) % 60}"
            found = snapshot.by_key(key)
            if found is None or found.key != key or snapshot.by_token(snapshot.token(found)) != found:
                wrong.append(key)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("symbol", "on", "contract"),
    [
        ("NIFTY26JANFUT", DAY, Contract("NIFTY", Kind.FUTURE, date(2026, 1, 27))),
        ("RELIANCE26NOVFUT", DAY, Contract("RELIANCE", Kind.FUTURE, date(2026, 11, 23))),
        ("NIFTY24JAN21500CE", date(2024, 1, 2), Contract("NIFTY", Kind.CALL, date(2024, 1, 25), 21500.0)),
        ("NIFTY2161715700CE", date(2021, 6, 11), Contract("NIFTY", Kind.CALL, date(2021, 6, 17), 15700.0)),
        ("BANKNIFTY20O1523000PE", date(2020, 10, 9), Contract("BANKNIFTY", Kind.PUT, date(2020, 10, 15), 23000.0)),
        ("NIFTY22112418300PE", date(2022, 11, 18), Contract("NIFTY", Kind.PUT, date(2022, 11, 24), 18300.0)),
        ("NIFTY22120118300PE", date(2022, 11, 18), Contract("NIFTY", Kind.PUT, date(2022, 12, 1), 18300.0)),
        ("NIFTY2212018300CE", date(2022, 1, 18), Contract("NIFTY", Kind.CALL, date(2022, 1, 20), 18300.0)),
        ("NIFTY27062418000CE", date(2022, 11, 18), Contract("NIFTY", Kind.CALL, date(2027, 6, 24), 18000.0)),
        ("RELIANCE", DAY, None),
        ("NIFTY 50", DAY, None),
        ("NIFTY22133918300PE", DAY, None),
    ],
)
def test_symbols_are_read_by_the_expiry_calendar(calendar: Calendar, symbol: str, on: date, contract: Contract | None) -> None:
    assert parse_contract(symbol, calendar, on) == contract


@pytest.mark.parametrize(
    ("symbol", "on", "expiry"),
    [
        ("NIFTY-I", date(2022, 11, 18), date(2022, 11, 24)),
        ("NIFTY-I", date(2022, 11, 24), date(2022, 11, 24)),
        ("NIFTY-I", date(2022, 11, 25), date(2022, 12, 29)),
        ("NIFTY-II", date(2022, 11, 18), date(2022, 12, 29)),
        ("NIFTY-III", date(2022, 11, 18), date(2023, 1, 25)),  # the 26th was a holiday
    ],
)
def test_continuous_names_follow_the_expiries(calendar: Calendar, symbol: str, on: date, expiry: date) -> None:
    contract = numbered_future(symbol, calendar, on)
    assert contract is not None
    assert contract.expiry == expiry


@pytest.mark.parametrize(
    "symbol", ["NIFTY26JANFUT", "NIFTY24JAN21500CE", "NIFTY2161715700CE", "BANKNIFTY20O1523000PE", "RELIANCE26NOV1472.5CE"]
)
def test_symbols_are_written_as_they_are_read(calendar: Calendar, symbol: str) -> None:
    contract = parse_contract(symbol, calendar, date(2020, 1, 1))
    assert contract is not None
    assert symbol_of(contract, calendar) == symbol


@pytest.mark.parametrize(
    ("name", "day", "total", "future"),
    [
        ("kite_instruments_NFO_2017-01", date(2017, 1, 16), 47850, "NFO:NIFTY17JANFUT"),
        ("kite_instruments_NSE_NFO_2026-01-31_rebuilt", date(2026, 2, 1), 47997, "NFO:NIFTY26FEBFUT"),
    ],
)
def test_real_dumps_are_taken_whole(store: InstrumentStore, name: str, day: date, total: int, future: str) -> None:
    path = MASTERS / f"{name}.csv.gz"
    if not path.exists():
        pytest.skip(f"the published instrument dump {path.name} is not on this machine")
    snapshot = update(store, gzip.decompress(path.read_bytes()), day).snapshot
    assert len(snapshot) == total
    assert sum(snapshot.counts.values()) == total
    assert snapshot.resolve("NIFTY_FUT", day).key == future
    read = parse_instruments(gzip.decompress(path.read_bytes()))
    sample = list(read)[::997]
    assert [snapshot.token(found) for row in sample if (found := snapshot.by_key(row.key))] == [row.token for row in sample]


@pytest.mark.skipif(not MASTERS.is_dir(), reason="the real masters are not on this machine")
def test_a_real_dump_is_reported_and_taken_from_its_file_without_a_login(tmp_path: Path) -> None:
    file = MASTERS / "kite_instruments_NSE_NFO_2026-01-31_rebuilt.csv.gz"
    here, config = venue.find("zerodha"), MARKET.parent
    told = reporting.report(config, here, file, date(2026, 1, 31), None)
    assert (told["accepted"], told["instruments"], told["left_out"], told["alarms"]) == (True, 47_997, {}, [])
    assert {(row["exchange"], row["kind"]): row["rows"] for row in told["segments"]} == {
        ("NFO", "CE"): 19_137,
        ("NFO", "FUT"): 633,
        ("NFO", "PE"): 19_025,
        ("NSE", "EQ"): 9_068,
        ("NSE", "INDEX"): 134,
    }
    account = Account("mine", AccountKind.PAPER, "zerodha")
    assert reporting.update_from_file(config, tmp_path, here, account, file, date(2026, 1, 31))["instruments"] == 47_997
    found = reporting.resolve(config, tmp_path, "zerodha", "NIFTY_FUT", date(2026, 2, 2))
    assert (found["key"], found["lot"], found["by"]) == ("NFO:NIFTY26FEBFUT", 65, "snapshot of 2026-01-31")
    old = reporting.report(config, here, MASTERS / "kite_instruments_NFO_2017-01.csv.gz", date(2017, 1, 16), None)
    assert (old["instruments"], old["left_out"]) == (47_850, {})


def test_a_file_that_is_no_dump_is_refused_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "dump.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="header lacks instrument_token"):
        reporting.report(MARKET.parent, venue.find("zerodha"), file, DAY, None)


def test_one_contract_under_two_names_is_told(store: InstrumentStore) -> None:
    twin = (
        next(line for line in rows() if ",NIFTY26DECFUT," in line)
        .replace("NIFTY26DECFUT", "NIFTYDEC26FUT")
        .replace(str(1001 * 256 + 2), "99842")
    )
    done = update(store, dump([*rows(), twin]))
    assert [alarm for alarm in done.drift.alarms if "NFO:NIFTY26DECFUT = NFO:NIFTYDEC26FUT" in alarm]


@pytest.mark.skipif(not MASTERS.is_dir(), reason="the real masters are not on this machine")
def test_contracts_of_real_dumps_of_two_brokers_are_joined_by_identity(tmp_path: Path, calendar: Calendar) -> None:
    def taken_from(broker: str, file: str, day: date) -> InstrumentSnapshot:
        dump = gzip.decompress((MASTERS / file).read_bytes())
        return InstrumentStore(tmp_path, calendar, broker).update(Source(dump), registry.get(broker), day, NOW).snapshot

    theirs = taken_from("upstox", "upstox_complete_2026-08-18.json.gz", date(2026, 8, 18))
    ours = taken_from("zerodha", "kite_instruments_NSE_NFO_2026-01-31_rebuilt.csv.gz", date(2026, 1, 31))
    assert len(theirs) == 124_139
    alive = [one for expiry in ("2026-12-29", "2027-06-29") for one in ours.options("NIFTY", date.fromisoformat(expiry))]
    found = [theirs.same(one) for one in alive]
    assert len(alive) > 50
    assert sum(one is not None for one in found) >= 0.9 * len(alive)
    assert all(
        (one.strike, one.expiry, one.kind) == (same.strike, same.expiry, same.kind) for one, same in zip(alive, found, strict=True) if same
    )
