"""Several accounts in one daemon: two at two brokers and a paper one, each with its own engine, ledger, limits and fate."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from core.types import Purpose
from execution_engine.order_state import TERMINAL
from runtime import state_folder
from storage.store import SqlReader, open_reader
from tests.e2e.stage import BUSY, HELD, Stage, admin, closed, until

NAMES = ("kite", "angel", "paper")
ACCOUNTS = {"kite": ("practice-live", "zerodha"), "angel": ("practice-live", "angelone"), "paper": ("practice", "zerodha")}
SIDE_BY_SIDE = ("--account", "angel", "--account", "paper")  # beside the stage's own flag for kite


def write_accounts(stage: Stage, more: str = "") -> Path:
    """A configuration with the three accounts (`more`: what else each says) and a busy strategy for each; its folder."""
    rows = "".join(
        f"  {name}:\n    kind: {kind}\n    broker: {broker}\n    capital: 1000000\n{more}" for name, (kind, broker) in ACCOUNTS.items()
    )
    stage.configure("settings.yaml", "accounts:\n", "accounts:\n" + rows)
    assert stage.config is not None
    for file in (stage.config / "strategies").glob("*.yaml"):
        file.unlink()
    for name in NAMES:
        (stage.config / "strategies" / f"busy_{name}.yaml").write_text(BUSY + f"account: {name}\n", encoding="utf-8")
    return stage.config


def prepare(stage: Stage, faults: list[dict[str, Any]] | None = None, start: str = "14:52", speed: str = "max") -> None:
    """The three accounts, and one exchange with both brokers' wires."""
    write_accounts(stage)
    stage.simulate("--beside", "angelone", start=start, faults=faults or [], speed=speed)


def ledger(stage: Stage, name: str) -> SqlReader:
    return open_reader(state_folder.of_account(stage.state, name).ledger_url)


def untrue(stage: Stage, name: str) -> list[str]:
    """What is wrong with the ended day of one account: by its own ledger, and where it trades by its own broker's books."""
    with closing(ledger(stage, name)) as own:
        orders, fills, positions = own.orders(), own.fills(), own.positions()
    wrong = [f"{name}: {order.tag} is still {order.state}" for order in orders if order.state not in TERMINAL]
    wrong += [f"{name}: {one.quantity} {one.instrument.key} held" for one in positions if one.quantity]
    wrong += [f"{name}: no fill"] * (not fills)
    wrong += [f"{name}: an order of {order.account}" for order in orders if order.account != name]
    if name == "angel":
        [book] = admin(stage.simulator, "GET", "/accounts?broker=angelone").values()
        tags = Counter(row["ordertag"] for row in book["orders"] if row["ordertag"])
        ours = {order.tag: order.filled for order in orders}
        theirs = {row["ordertag"]: int(row["filledshares"]) for row in book["orders"] if row["ordertag"]}
        wrong += [f"{tag} was sent {count} times" for tag, count in tags.items() if count > 1]
        wrong += [f"{tag}: {quantity} there, {ours.get(tag)} here" for tag, quantity in theirs.items() if ours.get(tag) != quantity]
        wrong += [f"angel holds {row}" for row in book["positions"] if row["netqty"] != "0"]
    return wrong


def digests(stage: Stage) -> dict[str, str]:
    return {row["account"]: row["digest"] for row in stage.report()["accounts"]}


def test_three_accounts_trade_one_market_and_each_is_what_it_would_be_alone(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    with Stage(together) as stage:
        prepare(stage)
        daemon = stage.run(*SIDE_BY_SIDE, account="kite", files=True)
        assert daemon.wait() == 0, daemon.said[-4000:]
        assert closed(stage) == [], "the first account against Zerodha's books"
        assert [wrong for name in NAMES for wrong in untrue(stage, name)] == []
        seen = digests(stage)
        rows = stage.call("orders", "--json").json
        assert {row["account"] for row in rows} == set(NAMES)
        assert {row["strategy"] for row in stage.call("fills", "--account", "angel", "--json").json} == {"busy_angel"}
        told = stage.call("status", "--json").json["accounts"]
        assert [(row["account"], row["flat"], row["session"]) for row in told] == [(name, True, "VALID") for name in NAMES]
        shown = stage.call("status").out
        assert "also" in shown
        assert all(len(line) <= 100 for line in shown.splitlines())
        assert stage.call("replay", "--day", "2026-11-20", "--account", "angel", "--json").json["identical"] is True
    with Stage(alone) as stage:
        prepare(stage)
        daemon = stage.run(account="angel", files=True)
        assert daemon.wait() == 0, daemon.said[-4000:]
        assert stage.report()["digest"] == seen["angel"], "the same seed is the same day, and its neighbours changed nothing for it"


def test_what_befalls_one_account_is_no_others(tmp_path: Path) -> None:
    """A kill -9 of them all; a dead token at one broker; a ledger that cannot be written; a kill of one account."""
    with Stage(tmp_path) as stage:
        prepare(stage, [{"fault": "kill_token", "broker": "zerodha", "match": {"after": "14:58"}}], start="14:44", speed=HELD)
        daemon = stage.run(*SIDE_BY_SIDE, account="kite", files=True)
        stage.go_to("14:50:30")
        daemon.kill()
        daemon = stage.run(*SIDE_BY_SIDE, account="kite", files=True)
        stage.go_to("14:58:30")
        stage.until(lambda status: status["session"] == "LOGIN_REQUIRED", "the dead token")

        def of(name: str) -> dict[str, Any]:
            found = stage.call("status", "--account", name, "--json").json
            assert isinstance(found, dict)
            return found

        assert (of("angel")["session"], of("angel")["trading_state"]) == ("VALID", "ACTIVE"), "another broker, another login"
        assert stage.call("login", "zerodha").code == 0
        stage.until(lambda status: status["session"] == "VALID", "both accounts of the one login again")
        assert of("paper")["session"] == "VALID"
        with closing(sqlite3.connect(state_folder.of_account(stage.state, "angel").ledger, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            stage.allow("15:05:30")
            until(lambda: "ledger" in str(of("angel")["blind"]), "the ledger that another process holds")
            assert "ledger" not in f"{of('kite')['blind']} {of('paper')['blind']}", "their ledgers are their own"
            assert "books" not in str(of("paper")["blind"]), "its book lists what an earlier process traded today"
            other.execute("ROLLBACK")
        until(lambda: "ledger" not in str(of("angel")["blind"]), "the ledger again")
        killed = stage.call("kill", "--account", "kite")
        assert killed.code == 0, killed
        states = {row["account"]: row["trading_state"] for row in of("kite")["accounts"]}
        assert states == {"kite": "HALTED", "angel": "ACTIVE", "paper": "ACTIVE"}
        stage.go_on()
        assert daemon.wait() == 0, daemon.said[-4000:]
        assert closed(stage) == []
        assert [wrong for name in NAMES for wrong in untrue(stage, name)] == []
        halted_at = next(entry["at"] for entry in stage.journal("trading_state") if entry["to"] == "HALTED")
        with closing(ledger(stage, "kite")) as own:
            late = [order for order in own.orders() if order.purpose is Purpose.ENTRY and order.created_at.isoformat() > halted_at]
        assert late == [], "what was killed opens nothing"


def test_an_account_that_goes_down_leaves_the_others_trading(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        prepare(stage, start="14:50")
        assert stage.config is not None
        file = stage.config / "strategies" / "busy_angel.yaml"
        file.write_text(file.read_text().replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NOSUCHSHARE]"), encoding="utf-8")
        daemon = stage.run(*SIDE_BY_SIDE, account="kite", files=True)
        assert daemon.wait() == 1, "the exit says that one went down"
        assert "the account angel is down" in daemon.said
        assert "An account is down" in daemon.said
        assert closed(stage) == []
        assert [wrong for name in ("kite", "paper") for wrong in untrue(stage, name)] == []
        rows = {row["account"]: row.get("running") for row in stage.call("status", "--json").json["accounts"]}
        assert rows.get("angel") in (None, False)


def test_one_login_of_the_prices_serves_them_all(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        write_accounts(stage, "    data_broker: upstox\n")
        stage.simulate("--beside", "angelone", "--beside", "upstox", start="14:55")
        daemon = stage.run(*SIDE_BY_SIDE, account="kite", files=True)
        assert daemon.wait() == 0, daemon.said[-4000:]
        assert closed(stage) == []
        assert [wrong for name in NAMES for wrong in untrue(stage, name)] == []
        logins = [row for row in admin(stage.simulator, "GET", "/requests?broker=upstox") if row["path"] == "/v2/login/authorization/token"]
        assert len(logins) == 1, "a second login would end the first one's token"
