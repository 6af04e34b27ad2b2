"""`fetch` against a simulator of the broker on the wire: faults, kill -9 and going on, gaps, a split, files out and in."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from core.types import Bar
from tests.e2e.stage import MAIN, PATIENCE, ROOT, Done, until
from tests.unit.candle_source import STOCK, Source, at

RANGE = ("RELIANCE", "--from", "2026-03-02", "--to", "2026-11-19", "--interval", "5minute")
HISTORY = {"route": "GET /instruments/historical/*"}


def history(*, adjusted: bool = False) -> list[Bar]:
    """Five-minute bars of one stock from March to the 20th of November; `adjusted`: as they read after a 1:1 bonus in October."""
    source = Source("2026-11-30 20:00", cap=4000)
    source.begins = at("2026-03-02 00:00").date()
    if adjusted:
        source.factor, source.ex = 0.5, at("2026-10-01 00:00").date()
    return source.candles(STOCK, at("2026-03-02 00:00"), at("2026-11-20 23:59"), 5)


def recorded(path: Path, bars: Iterable[Bar]) -> Path:
    rows = (f"{bar.start:%Y-%m-%d %H:%M:%S%z},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume},RELIANCE" for bar in bars)
    path.write_text("\n".join(["timestamp,open,high,low,close,volume,symbol", *rows]) + "\n", encoding="utf-8")
    return path


class House:
    """One state folder, and the environment of commands that use the simulator at `simulator`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.simulator = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NIYAM_")}
        return kept | {"NIYAM_STATE": str(self.state)} | ({"NIYAM_SIMULATOR": self.simulator} if self.simulator else {})

    def fetch(self, *words: str) -> Done:
        done = subprocess.run(
            [*MAIN, "fetch", *words], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, env=self.environment, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def simulate(self, data: Path, faults: Iterable[Mapping[str, Any]] = ()) -> Iterator[None]:
        """A simulator that replays `data`, at ten to four on the 20th of November."""
        script = self.folder / "faults.json"
        script.write_text(json.dumps(list(faults)), encoding="utf-8")
        command = [*MAIN, "simulate", "zerodha", "--json", "--data", str(data), "--date", "2026-11-20", "--start", "15:50"]
        with subprocess.Popen(
            [*command, "--faults", str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=self.environment
        ) as process:
            try:
                assert process.stdout is not None
                self.simulator = json.loads(process.stdout.readline())["admin"]
                yield
            finally:
                self.simulator = ""
                process.terminate()
                process.wait(PATIENCE)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def closes(bars: Iterable[Bar], keep: Callable[[Bar], bool] = lambda bar: bar.start.date() < at("2026-11-20 00:00").date()) -> list[float]:
    return [bar.close for bar in bars if keep(bar)]


def on_a_terminal(house: House, *words: str) -> str:
    """What a fetch draws on standard error when that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*MAIN, "fetch", *words], stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, env=house.environment) as process:
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # a terminal whose other side has gone
            while some := os.read(ours, 4096):
                drawn += some
        os.close(ours)
        assert process.wait(PATIENCE) == 0, drawn
    return drawn.decode()


def test_a_fetch_through_faults_is_killed_and_goes_on(house: House, tmp_path: Path) -> None:
    bars = history()
    faults: list[dict[str, Any]] = [
        {"fault": "rate_limit", "match": HISTORY},
        {"fault": "server_error", "match": HISTORY, "skip": 1},
        {"fault": "drop_reply", "match": HISTORY, "skip": 2},
        {"fault": "delay", "match": HISTORY, "skip": 4, "seconds": 60},
    ]
    with house.simulate(recorded(tmp_path / "bars.csv", bars), faults):
        said = tmp_path / "said"
        with (
            said.open("wb") as out,
            subprocess.Popen([*MAIN, "fetch", *RANGE], stdout=subprocess.DEVNULL, stderr=out, cwd=ROOT, env=house.environment) as first,
        ):
            until(lambda: "chunk 1 of 3" in said.read_text(encoding="utf-8"), "the first chunk")
            first.send_signal(signal.SIGKILL)
        told = said.read_text(encoding="utf-8")
        assert told.count("asked again for") == 3, told
        out_file = tmp_path / "out.parquet"
        second = house.fetch(*RANGE, "--out", str(out_file), "--json")
        assert second.code == 0, second.err
        assert second.json["whole"]
        assert second.json["report"]["bars"] == second.json["report"]["expected"]
        assert 0 < second.json["fetched"] < second.json["report"]["bars"], "the first chunk was kept"
        assert "fetching" in on_a_terminal(house, *RANGE, "--interval", "15minute")
        third = house.fetch(*RANGE)
        assert third.code == 0
        assert "0 new by 1 requests" in third.out, "one look whether the past is still the same"
        assert "none" in third.out
    table = pq.read_table(out_file)
    assert table["close"].to_pylist() == closes(bars)
    assert set(table["symbol"].to_pylist()) == {"NSE:RELIANCE"}

    csv_file = tmp_path / "again.csv"
    brought = house.fetch("--import", str(out_file), "--json")
    assert brought.code == 0, brought.err
    (series,) = brought.json["series"]
    assert (series["instrument"], series["interval"], series["candles"]) == ("NSE:RELIANCE", "5m", table.num_rows)
    with house.simulate(tmp_path / "bars.csv"):
        assert house.fetch(*RANGE, "--out", str(csv_file)).code == 0
    assert pyarrow.csv.read_csv(csv_file)["close"].to_pylist() == closes(bars)
    assert house.fetch("--import", str(csv_file)).code == 0


def test_gaps_are_shown_repaired_where_they_can_be_and_end_in_exit_1(house: House, tmp_path: Path) -> None:
    bars = [bar for bar in history() if bar.start >= at("2026-11-02 00:00")]
    lost = at("2026-11-12 11:00")
    few = ("RELIANCE", "--from", "2026-11-09", "--to", "2026-11-19", "--interval", "5minute")
    with house.simulate(recorded(tmp_path / "holes.csv", [bar for bar in bars if bar.start != lost and bar.start.day != 17])):
        done = house.fetch(*few)
        assert done.code == 1
        assert "2026-11-12" in done.out
        assert "11:00" in done.out
        assert "2026-11-17" in done.out
        assert "the whole day" in done.out
        again = house.fetch(*few, "--repair", "--json")
        assert again.code == 1
        assert again.json["report"]["missing_days"] == ["2026-11-17"]
        assert any("2 days with gaps asked for again: 0 of" in note for note in again.json["notes"])
    with house.simulate(recorded(tmp_path / "whole.csv", bars)):
        assert house.fetch(*few).code == 1, "what was answered is not asked for again by itself"
        healed = house.fetch(*few, "--repair", "--json")
        assert healed.code == 0, healed.err
        assert healed.json["whole"]


def test_a_bonus_in_the_source_replaces_what_was_stored(house: House, tmp_path: Path) -> None:
    old, new = history(), history(adjusted=True)
    until_september = ("RELIANCE", "--from", "2026-08-03", "--to", "2026-09-25", "--interval", "5minute")
    with house.simulate(recorded(tmp_path / "before.csv", old)):
        assert house.fetch(*until_september).code == 0
    with house.simulate(recorded(tmp_path / "after.csv", new)):
        out_file = tmp_path / "after.parquet"
        done = house.fetch("RELIANCE", "--from", "2026-08-03", "--to", "2026-10-30", "--interval", "5minute", "--out", str(out_file))
        assert done.code == 0
        assert "factor 0.5 (a split or a bonus)" in done.err
    wanted = closes(new, lambda bar: at("2026-08-03 00:00") <= bar.start < at("2026-10-31 00:00"))
    assert pq.read_table(out_file)["close"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "2026-11-09", "--to", "2026-11-10"), "needs NAME, --from and --to"),
        (("RELIANCE", "--from", "2026-11-10", "--to", "2026-11-09"), "is after --to"),
        (("RELIANCE", "--from", "2026-11-09", "--to", "2026-11-10", "--interval", "7m"), "candles of '7m' are not kept"),
        (("RELIANCE", "--from", "2026-11-09", "--to", "2026-11-10", "--out", "x.xls"), "ends in .parquet or .csv"),
        (("RELIANCE", "--from", "2026-11-09", "--to", "2026-11-10", "--source", "zerodah"), "did you mean 'zerodha'"),
        (("RELIANCE", "--from", "2026-11-09", "--to", "2026-11-10", "--account", "nobody"), "--account 'nobody': settings.yaml has"),
        (("--import", "nowhere.csv"), "there is no market data at nowhere.csv"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(house: House, words: tuple[str, ...], says: str) -> None:
    done = house.fetch(*words)
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_names_that_mean_nothing_now_are_refused_with_the_way_on(house: House) -> None:
    command = [sys.executable, "-m", "simulators.server", "--json", "--start", "10:00"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            house.simulator = json.loads(process.stdout.readline())["admin"]
            few = ("--from", "2026-10-05", "--to", "2026-10-06", "--interval", "60minute")
            expired = house.fetch("NIFTY26OCTFUT", *few)
            assert (expired.code, "expired on 2026-10-27" in expired.err) == (2, True)
            unknown = house.fetch("RELIANC", *few)
            assert (unknown.code, "did you mean NSE:RELIANCE" in unknown.err) == (2, True)
            later = house.fetch("RELIANCE", "--from", "2026-11-23", "--to", "2026-11-24")
            assert (later.code, "nothing of 2026-11-23 00:00 to 2026-11-25 00:00 is over yet" in later.err) == (0, True)
            stock = house.fetch("RELIANCE", *few, "--continuous")
            assert (stock.code, "continuous candles exist for futures" in stock.err) == (2, True)
            days = ("--from", "2026-11-02", "--to", "2026-11-19", "--interval", "day")
            done = house.fetch("NIFTY_FUT", *days, "--continuous", "--json")
            assert (done.code, done.json["report"]["bars"], done.json["continuous"]) == (0, 13, True)
            account = house.fetch("NIFTY_FUT", *days, "--account", "mine")
            assert (account.code, "leave --account out" in account.err) == (2, True)
        finally:
            process.terminate()
            process.wait(PATIENCE)
