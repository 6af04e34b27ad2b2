"""An evening, a holiday and the morning after it at the wire simulator: charges against the broker's, and where a position starts at."""

import pytest

from tests.e2e.stage import BUSY, HELD, Stage

CARRYING = BUSY.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NIFTY_FUT]").replace("horizon: intraday", "horizon: carry")
SHARES = CARRYING.replace("NIFTY_FUT", "RELIANCE").replace("{lots: 1}", "{quantity: 10}")
TAX = "- {from: 2026-04-01, to: null, sell: 0.0005, src: [FATAX73524]}"


def test_charges_that_differ_are_booked_and_told_and_what_is_carried_starts_at_the_brokers_close(stage: Stage) -> None:
    stage.strategy.write_text(CARRYING, encoding="utf-8")
    stage.configure("market/charges.yaml", TAX, TAX.replace("0.0005", "0.0002"))  # of before April 2026: the broker knows better
    stage.simulate(date="2026-11-09", start="15:00", seed=2, speed=HELD)
    daemon = stage.run("--days", "2")
    stage.go_to("09:00:30", day="2026-11-11")
    stage.go_on_until(lambda _: bool(stage.journal("rebased")), "the next morning")
    daemon.kill()

    [compared] = stage.journal("charges_compared")
    differ = stage.journal("charges_differ")
    sold = [entry for entry in stage.journal("fill") if entry["side"] == "SELL"]
    assert sold
    assert len(differ) == len({entry["order"] for entry in sold})
    assert all(entry["difference"] > 0 for entry in differ)
    for entry in differ:
        lines = entry["lines"]
        assert [name for name in lines if lines[name]["broker"] - lines[name]["ours"] > 0.01] == ["stt"], "the line that is wrong is seen"
        assert sum(line["broker"] for line in lines.values()) == pytest.approx(entry["broker"], abs=0.01)
    added = sum(entry["difference"] for entry in differ)
    assert abs(compared["broker"] - compared["ours"] - added) <= 0.01 * compared["orders"]
    assert stage.alerts().count(("warn", "Charges differ")) == 1
    [told] = [entry["text"] for entry in stage.journal("alert") if entry["title"] == "Charges differ"]
    ours, theirs = (sum(round(entry["lines"]["stt"][whose] * 100) for entry in differ) / 100 for whose in ("ours", "broker"))
    assert f"stt {theirs:.2f} / {ours:.2f}" in told
    report = stage.call("report", "--day", "2026-11-09", "--json").json
    assert abs(report["charges_adjusted"] - added) < 0.005
    assert abs(report["charges"] - compared["broker"]) <= 0.01 * compared["orders"]

    feed = [(entry["connected"], entry["reason"]) for entry in stage.journal("feed")]
    assert feed[:2] == [(True, ""), (False, "stopped")], "no silence of an auction, a night or a holiday is taken for a dead feed"
    assert feed[2:] in ([], [(True, "")])
    [rebased] = stage.journal("rebased")
    [held] = [row for row in stage.account()["positions"] if row["overnight_quantity"]]
    assert (rebased["instrument"], rebased["price"]) == (f"{held['exchange']}:{held['tradingsymbol']}", held["close_price"])


def test_shares_that_were_delivered_overnight_are_known_as_ours_and_sold_from_the_demat_account(stage: Stage) -> None:
    stage.strategy.write_text(SHARES, encoding="utf-8")
    stage.simulate(date="2026-11-09", start="15:00", seed=2, speed=HELD)
    daemon = stage.run("--days", "2")
    stage.go_to("09:10:00", day="2026-11-11")
    sold = lambda _: any(entry["side"] == "SELL" and entry["at"] > "2026-11-11" for entry in stage.journal("fill"))  # noqa: E731
    stage.go_on_until(sold, "the sale")
    daemon.kill()
    [found] = stage.journal("delivered")
    assert (found["instrument"], found["quantity"]) == ("NSE:RELIANCE", 10)
    assert stage.journal("difference") == []
    [holding] = stage.account()["holdings"]
    assert holding["used_quantity"] == 10


def test_our_charges_are_the_brokers(stage: Stage) -> None:
    stage.simulate(start="15:00", seed=2)
    stage.play()
    [compared] = stage.journal("charges_compared")
    assert compared["orders"] > 1
    assert stage.journal("charges_differ") == []
