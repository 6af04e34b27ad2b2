"""Strategies retuned on a running day: the real daemon, at practice speed, by files, by signal and by command."""

import signal
from pathlib import Path

from tests.e2e.stage import BUSY, HELD, Stage, closed, until


def test_a_running_day_takes_up_good_files_refuses_bad_ones_and_a_toggle_outlives_a_kill(stage: Stage) -> None:
    stage.configure("market/overrides.yaml", "confirmed_years: []", "confirmed_years: [2027]")  # a copy of the configuration
    assert stage.config is not None
    strategies: Path = stage.config / "strategies"
    for shipped in strategies.glob("*.yaml"):
        shipped.unlink()
    trend = strategies / "trend.yaml"
    trend.write_text(BUSY.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NIFTY_FUT]"), encoding="utf-8")
    stage.simulate(start="14:20", speed=HELD)
    daemon = stage.run(files=True)
    stage.go_on_until(lambda _: any(entry["strategy"] == "trend" for entry in stage.journal("signal")), "a first signal")

    trend.write_text(trend.read_text(encoding="utf-8").replace("slow: 12", "slow: 3"), encoding="utf-8")  # below fast
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: bool(stage.journal("reload_refused")), "the refusal of the bad file")
    [refused] = stage.journal("reload_refused")
    assert "trend.yaml:4: fast: 5 is not below slow (3)" in refused["why"]
    assert ("warn", "Not reloaded") in stage.alerts()
    [row] = stage.call("strategies", "--json").json
    assert (row["state"], row["params"]["slow"]) == ("running", 12)

    trend.write_text(trend.read_text(encoding="utf-8").replace("fast: 5, slow: 3", "fast: 2, slow: 4"), encoding="utf-8")
    (strategies / "bank.yaml").write_text(BUSY.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[BANKNIFTY_FUT]"), encoding="utf-8")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: bool(stage.journal("reloaded")), "the good files taken up")
    [reloaded] = stage.journal("reloaded")
    fields = reloaded["strategies"]["trend"]["fields"]
    assert fields == {"params.fast": {"old": 5, "new": 2}, "params.slow": {"old": 12, "new": 4}}
    assert (reloaded["strategies"]["bank"]["change"], reloaded["strategies"]["bank"]["does"]) == ("added", "started")
    assert reloaded["config"]["old"] == stage.journal("started")[0]["config"]
    taken = reloaded["seq"]
    for name in ("trend", "bank"):
        fresh = lambda _, name=name: any(one["seq"] > taken and one["strategy"] == name for one in stage.journal("signal"))  # noqa: E731
        stage.go_on_until(fresh, f"a signal of the new {name}")

    told = stage.call("retune", "bank", "size.lots=2", "risk.max_trades=9")
    assert told.code == 0, told.err
    assert "bank size.lots 1 -> 2, risk.max_trades null -> 9: taken over" in told.out
    assert "size: {lots: 2}" in (strategies / "bank.yaml").read_text(encoding="utf-8")
    told = stage.call("retune", "bank", "params.fast=99")
    assert (told.code, "fast: 99 is not below slow (12)" in told.err) == (1, True)
    told = stage.call("disable", "trend")
    assert (told.code, told.out) == (0, "trend disabled: retired\n")
    until(lambda: not any(row["position"] for row in stage.call("strategies", "--json").json if row["name"] == "trend"), "trend to be flat")

    daemon.kill()
    daemon = stage.run(files=True)
    until(lambda: len(stage.journal("started")) == 2, "the second start")
    stage.until(lambda seen: any(row["state"] == "running" for row in seen["strategies"]), "the day taken up again")
    rows = {row["name"]: row for row in stage.call("strategies", "--json").json}
    assert (rows["trend"]["state"], rows["trend"]["why"]) == ("disabled", "by command")
    assert (rows["bank"]["state"], rows["bank"]["size"]) == ("running", {"lots": 2})
    assert stage.journal("started")[-1]["config"] == stage.journal("reloaded")[-1]["config"]["new"]
    told = stage.call("enable", "trend")
    assert (told.code, told.out) == (0, "trend enabled: started\n")

    stage.go_on()
    assert daemon.wait() == 0, daemon.said
    assert closed(stage) == [], daemon.said
    down = {row["name"]: row["state"] for row in stage.call("strategies", "--json").json}
    assert set(down) == {"bank", "trend"}
    assert stage.replayed()["starts"] == 2, "with every change of files, fields and toggles"
