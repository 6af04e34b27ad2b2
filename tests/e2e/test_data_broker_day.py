"""Days with prices from one broker and orders at another, both in front of one exchange."""

from contextlib import closing
from datetime import time
from pathlib import Path
from typing import Any

from core.types import Purpose
from tests.e2e.stage import HELD, Stage, admin, closed

ACCOUNT = "  split:\n    kind: practice-live\n    broker: zerodha\n    data_broker: upstox\n    capital: 1000000\n"


def split(stage: Stage, faults: list[dict[str, Any]] | None = None, start: str = "14:30", speed: str = "max") -> None:
    """Orders at Zerodha, prices from Upstox."""
    stage.configure("settings.yaml", "accounts:\n", "accounts:\n" + ACCOUNT)
    stage.simulate("--beside", "upstox", start=start, faults=faults or [], speed=speed)


def asked(stage: Stage, broker: str) -> set[str]:
    """The routes that were asked for at this broker."""
    return {f"{row['method']} {row['path'].split('?')[0]}" for row in admin(stage.simulator, "GET", f"/requests?broker={broker}")}


def test_the_day_is_the_same_whoever_tells_the_prices(tmp_path: Path) -> None:
    digests = []
    for number, account in enumerate(("practice-live", "split")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Stage(folder) as stage:
            split(stage, start="14:48")
            daemon = stage.play(account=account)
            assert closed(stage) == [], daemon.said[-4000:]
            digests.append(stage.report()["digest"])
            assert stage.report()["trades"] >= 3
            if account == "split":
                stage.replayed()
                at_data, at_orders = asked(stage, "upstox"), asked(stage, "zerodha")
                assert not {route for route in at_data if "order" in route or "portfolio/" in route}, "nothing is traded where prices are"
                assert any("historical-candle" in route for route in at_data)
                assert not {route for route in at_orders if "quote" in route or "historical" in route}, "nothing is priced at the other"
                for connection in admin(stage.simulator, "GET", "/messages?broker=zerodha"):
                    assert connection["messages"] == [], "no instrument is subscribed where orders go"
    assert digests[0] == digests[1], "one exchange: the same prices and the same fills over either wire"


def test_a_dead_token_of_the_prices_stops_entries_and_leaves_the_orders_be(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        split(stage, [{"fault": "kill_token", "broker": "upstox", "match": {"after": "14:50"}}], speed=HELD)
        daemon = stage.run(account="split")
        stage.go_to("14:55:30")
        seen = stage.until(lambda status: not status["feed"]["connected"], "the feed's end")
        assert seen["session"] == "VALID", "the login of the orders is another one"
        assert stage.ask("login").ok
        stage.until(lambda status: status["feed"]["connected"], "prices again")
        stage.go_on()
        assert daemon.wait() == 0, daemon.said[-4000:]
        assert closed(stage) == []
        assert "Login required for prices" in daemon.said
        [lost] = [entry for entry in stage.journal("feed") if not entry["connected"] and "14:50" <= entry["at"][11:16] < "15:30"][:1]
        back = next(entry["at"] for entry in stage.journal("feed") if entry["connected"] and entry["at"] > lost["at"])
        with closing(stage.ledger) as ledger:
            entries = [order.created_at for order in ledger.orders() if order.purpose is Purpose.ENTRY]
        assert [at for at in entries if lost["at"] < at.isoformat() < back] == [], "nothing is opened without prices"
        assert any(at.time() > time(14, 30) for at in entries)
