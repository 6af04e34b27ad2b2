"""The record of a day played again: what differs is found and told, and what cannot be replayed says why."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from core.errors import NiyamError
from core.types import Signal, Tick
from data_ingestion.recorder import read_starts
from execution_engine.paper_rules import FillRules
from execution_engine.runs import Run
from runtime import beside, replay_day
from runtime.charts_left import ChartsLeft
from runtime.recorded import RecordedBacktest, RecordedMarket, Recording, opening_of
from runtime.web_desk import WebDesk
from tests.e2e.stage import BUSY, DAY, Stage
from utils.config_loader import CONFIG_FOLDER

Frames = list[dict[str, Any]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Half an hour of a practice day."""
    with Stage(tmp_path_factory.mktemp("day")) as stage:
        stage.play("--start", "14:55", "--speed", "max", "--seed", "2", account="practice")
        yield stage


def frames(path: Path) -> Frames:
    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        found.append(msgspec.msgpack.decode(data[place + 8 : place + 8 + length]))
        place += 8 + length
    return found


def replayed(stage: Stage, change: Callable[[Frames], Frames]) -> dict[str, Any]:
    """The day replayed from a record that `change` has edited."""
    [path] = stage.run_folder.recordings.glob("*.events")
    kept = path.read_bytes()
    payloads = [msgspec.msgpack.encode(frame) for frame in change(frames(path))]
    path.write_bytes(b"".join(len(one).to_bytes(4, "little") + zlib.crc32(one).to_bytes(4, "little") + one for one in payloads))
    ledger = stage.ledger
    try:
        return replay_day.replay(stage.run_folder, ledger, date.fromisoformat(DAY))
    finally:
        ledger.close()
        path.write_bytes(kept)


def test_its_bars_are_drawn_while_no_daemon_runs(recorded: Stage, tmp_path: Path) -> None:
    desk = WebDesk(CONFIG_FOLDER, recorded.state)
    [path] = recorded.run_folder.recordings.glob("*.events")
    prices: dict[tuple[str, datetime], list[float]] = {}
    for item in Recording(path).items():
        if isinstance(item, Tick):
            prices.setdefault((item.instrument.key, (item.exchange_at or item.at).replace(second=0, microsecond=0)), []).append(item.price)
    lines = desk.read("chart")
    assert lines
    for line in lines:
        found = desk.read("chart", {"instrument": line["instrument"], "interval": line["interval"]})
        assert "without indicators: no daemon runs" in found["source"]
        drawn = [bar for bar in found["bars"] if (line["instrument"], datetime.fromisoformat(bar[0])) in prices]
        assert len(drawn) > 20
        for start, *_, high, low, close, _, _ in drawn:
            assert {high, low, close} <= set(prices[line["instrument"], datetime.fromisoformat(start)]), start
    with pytest.raises(NiyamError, match="no recording"):
        ChartsLeft().document(tmp_path, {})
    (tmp_path / f"{DAY}-1.events").write_bytes(b"torn")
    with pytest.raises(NiyamError, match="does not tell the bars"):
        ChartsLeft().document(tmp_path, {})


def test_an_untouched_record_is_identical(recorded: Stage) -> None:
    found = replayed(recorded, lambda frames: frames)
    assert (found["identical"], found["notes"]) == (True, [])
    assert found["decisions"] > 20
    assert found["digest"]["replay"] == recorded.report()["digest"]
    told = recorded.call("replay", "--day", DAY)
    assert (told.code, "identical: each decision and order came again" in told.out) == (0, True)


def opening_changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Frames], Frames]:
    def edit(frames: Frames) -> Frames:
        for frame in frames:
            if "opening" in frame:
                opening = msgspec.msgpack.decode(zlib.decompress(frame["opening"]))
                change(opening)
                frame["opening"] = zlib.compress(msgspec.msgpack.encode(opening))
        return frames

    return edit


def test_a_changed_parameter_is_told_at_its_first_decision(recorded: Stage) -> None:
    def slower(opening: dict[str, Any]) -> None:
        opening["strategies"]["busy"]["params"]["slow"] = 25

    found = replayed(recorded, opening_changed(slower))
    assert found["identical"] is False
    difference = found["difference"]
    assert "recorded signal busy NFO:BANKNIFTY26NOVFUT 1 fast" in difference["text"]
    assert difference["recorded"]["kind"] == "signal"
    assert difference["after"]
    assert found["digest"]["replay"] is None


def test_a_decision_that_is_not_taken_again_is_told_and_not_what_comes_of_it(recorded: Stage) -> None:
    def silent(opening: dict[str, Any]) -> None:
        opening["strategies"]["busy"]["params"] |= {"fast": 199, "slow": 200}

    difference = replayed(recorded, opening_changed(silent))["difference"]
    assert difference["recorded"]["kind"] == "signal"
    assert difference["replayed"] is None
    assert "recorded signal busy NFO:BANKNIFTY26NOVFUT" in difference["text"]
    assert difference["text"].endswith("and not taken in the replay")


def test_timers_that_come_of_a_decision_are_told_with_it(recorded: Stage) -> None:
    """Nothing else is decided in the batch in which a signal is missing: what shows first is that its order has no ladder."""
    [path] = recorded.run_folder.recordings.glob("*.events")
    (start,) = read_starts(path)
    ledger, stood = recorded.ledger, opening_of(start)
    entries = replay_day._of_this_process(list(ledger.read_journal(since=stood.journal)), stood.journal, None)
    ledger.close()
    place = next(number for number, one in enumerate(entries) if one["kind"] == "signal" and one["at"] > "2026-11-20T15:00")

    class Deaf(replay_day.Player):
        def _take_signal(self, run: Run, signal: Signal) -> None:
            if signal.at.isoformat() < "2026-11-20T15:00":
                self.heard(run, signal)

        def open(self) -> None:
            super().open()
            self.heard = self.engine.hearing._take_signal
            self.engine.hearing._take_signal = self._take_signal

    with TemporaryDirectory() as folder:
        outcome = replay_day._Outcome()
        replay_day._compare(Deaf(stood, [], Path(folder)), start, entries, outcome, last=True)
    assert outcome.difference is not None
    assert outcome.difference["recorded"]["kind"] == "signal"
    assert outcome.difference["recorded"]["at"] == entries[place]["at"]
    assert "and not taken in the replay; timers " in outcome.difference["text"]


def test_a_larger_size_is_told_field_by_field(recorded: Stage) -> None:
    def larger(opening: dict[str, Any]) -> None:
        opening["strategies"]["busy"]["size"] = {"lots": 2}

    difference = replayed(recorded, opening_changed(larger))["difference"]
    assert difference["fields"] == {"wanted": [difference["recorded"]["wanted"], 2 * difference["recorded"]["wanted"]]}


def test_a_changed_price_in_the_record_is_told(recorded: Stage) -> None:
    """The tick before the first fill, a rupee away: the fill is another, and the event before it is named."""
    ledger = recorded.ledger
    fill = ledger.fills()[0]
    ledger.close()

    def dearer(frames: Frames) -> Frames:
        met: list[str] = []
        for frame in frames:
            met += [one["key"] for one in frame.get("instruments", ())]
            for event in frame.get("events", ()):
                if event[0] == 0 and met[event[1]] == fill.instrument.key and event[2].timestamp() == fill.at.timestamp():
                    event[3] += 1.0
                    event[7], event[8] = event[7] + 1.0, event[8] + 1.0
        return frames

    difference = replayed(recorded, dearer)["difference"]
    assert difference["at"][:19] == fill.at.isoformat()[:19]
    assert any("Tick at" in event for event in difference["after"])
    assert {"average_price", "price", "limit_price", "filled", "kind"} & set(difference["fields"])


def test_a_fill_that_no_event_explains_is_told(recorded: Stage) -> None:
    """The last bars are cut out of the record: the ledger has decisions that cannot come again."""

    def shortened(frames: Frames) -> Frames:
        half = len(frames) // 2
        return frames[:half]

    found = replayed(recorded, shortened)
    assert found["identical"] is False
    assert "and not taken in the replay" in found["difference"]["text"]


def test_a_record_without_an_opening_says_that_it_cannot_be_replayed(recorded: Stage) -> None:
    with pytest.raises(NiyamError, match="has no opening of the day: it was recorded by a version that kept the events alone"):
        replayed(recorded, lambda frames: [frame for frame in frames if "opening" not in frame])
    with pytest.raises(NiyamError, match="is of another version"):
        replayed(recorded, opening_changed(lambda opening: opening.pop("canary")))
    done = recorded.call("replay", "--day", "2026-11-19")
    assert (done.code, f"no recording of 2026-11-19 in {recorded.run_folder.recordings}" in done.err) == (1, True)
    assert f"there are {DAY}" in done.err


# --- the same recording as the data of a backtest -------------------------------------------------------------------------------------

DECIDED = ("signal", "refused", "latched", "flatten", "intent", "cancel", "modify", "order", "fill", "square_off_started")
NUMBERED = ("seq", "order", "tag", "broker_order_id", "trade", "id")  # numbers and names that each run gives anew


def decisions(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was decided, sent and filled, with its times, without the names that each run gives."""
    return [
        {name: datetime.fromisoformat(value) if name == "at" else value for name, value in one.items() if name not in NUMBERED}
        for one in entries
        if one["kind"] in DECIDED
    ]


def test_a_backtest_of_the_recording_decides_what_the_paper_day_decided(recorded: Stage) -> None:
    """Signals, refusals, orders, their states and fills, one by one with their times, and the digest."""
    [path] = recorded.run_folder.recordings.glob("*.events")
    recording = Recording(path)
    ledger = recorded.ledger
    paper = decisions(ledger.read_journal(since=recording.stood.journal))
    ledger.close()
    with TemporaryDirectory() as folder:
        config = recording.config(Path(folder))
        market = RecordedMarket(recording, config.calendar(recording.account.kind))
        backtest = RecordedBacktest(config, recording.account, market, recording.strategies, FillRules(), journal=None)
        outcome = backtest.run()
    found = [replay_day.entry(at, kind, data) for at, kind, data in backtest.store.since(0)]
    assert len(paper) > 20
    assert decisions(found) == paper
    assert outcome.digest == recorded.report()["digest"]


def test_the_command_takes_a_recording_or_other_strategies_on_it(recorded: Stage, tmp_path: Path) -> None:
    [path] = recorded.run_folder.recordings.glob("*.events")
    same = recorded.call("backtest", "--data", str(path), "--json").json
    assert same["digest"] == recorded.report()["digest"]
    assert same["data"] == f"recorded data, {path.name}"
    for name, fast in (("quick", 3), ("steady", 8)):
        (tmp_path / f"{name}.yaml").write_text(
            BUSY.replace("fast: 5", f"fast: {fast}").replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NIFTY_FUT]")
        )
    other = recorded.call("backtest", str(tmp_path / "quick.yaml"), str(tmp_path / "steady.yaml"), "--data", str(path), "--json").json
    assert {trade["strategy"] for trade in other["trades"]} == {"quick", "steady"}, other["refusals"]
    assert set(other["params"]) == {"quick", "steady"}
    assert any("quick: not a strategy of that day; 12 of 12 warm-up bars" in note for note in other["notes"])
    whole = recorded.call("backtest", "--data", str(path), "--check", "lookahead")
    assert (whole.code, "a recorded day is played whole" in whole.err) == (2, True)


def test_a_report_of_days_sets_the_backtest_beside_them(recorded: Stage) -> None:
    period = recorded.call("report", "--from", DAY, "--to", DAY, "--json").json
    [row] = period["beside_backtest"]
    assert row["traded"] == row["backtest"] == {name: period[name] for name in ("trades", "gross", "charges", "net")}
    count = len(recorded.call("fills", "--json").json)
    expected = {"traded": count, "backtest": count, "paired": count, "ticks_mean": 0.0, "ticks_worst": 0.0, "same": True}
    assert (row["fills"], row["notes"]) == (expected, [])
    told = recorded.call("report", "--from", DAY, "--to", DAY).out
    assert f"the same {count} fills" in " ".join(told.split())


def test_a_dearer_fill_and_one_that_the_backtest_has_not_are_seen(recorded: Stage) -> None:
    fills = recorded.call("fills", "--json").json
    reports = recorded.call("report", "--from", DAY, "--to", DAY, "--json").json["days"]
    dearer = {**fills[0], "price": fills[0]["price"] + (0.6 if fills[0]["side"] == "BUY" else -0.6)}  # three ticks of an index future
    [row] = beside.rows(reports, [dearer, *fills[1:], {**fills[0], "strategy": "another"}], recorded.run_folder.recordings)
    assert row["fills"] == {
        "traded": len(fills) + 1,
        "backtest": len(fills),
        "paired": len(fills),
        "ticks_mean": round(3 / len(fills), 2),
        "ticks_worst": 3.0,
        "same": False,
    }


def test_a_day_without_its_end_or_recording_says_so(recorded: Stage, tmp_path: Path) -> None:
    reports = recorded.call("report", "--from", DAY, "--to", DAY, "--json").json["days"]
    [none] = beside.rows(reports, [], tmp_path)
    assert (none["backtest"], none["notes"]) == (None, [f"no recording of {DAY} in {tmp_path}"])
    [path] = recorded.run_folder.recordings.glob("*.events")
    (tmp_path / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    [half] = beside.rows(reports, [], tmp_path)
    assert "has no end of the day" in half["notes"][0]
