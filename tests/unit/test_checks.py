"""`check`: each thing that would stop or endanger a day is found, and says what to do."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.clock import ManualClock
from core.errors import ConfigError
from core.types import IST
from data_ingestion.instruments import InstrumentStore
from runtime import checks, daemon
from runtime.options import RunOptions
from runtime.state_folder import account_folder
from tests.builders import T0
from tests.unit.test_instruments import DAY, NOW, Source, Spec, dump, rows
from utils.config_loader import Secrets, load_calendar

ROOT = Path(__file__).resolve().parents[2]
MONDAY = datetime(2026, 11, 16, 8, 0, tzinfo=IST)
GB = 1024**3


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped configuration with a paper and a live account."""
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "config", folder)
    settings = folder / "settings.yaml"
    accounts = "".join(f"  {kind}:\n    kind: {kind}\n    broker: zerodha\n    capital: 500000\n" for kind in ("paper", "live"))
    settings.write_text(settings.read_text().replace("accounts:\n", "accounts:\n" + accounts, 1))
    return folder


def look(config: Path, account: str, now: datetime = MONDAY, **world: Any) -> dict[str, list[dict[str, str]]]:
    """The findings by name, with the world outside as given."""
    broker_time = world.get("broker_time", now)
    probes = checks.Probes(lambda url: broker_time, lambda: world.get("address", "203.0.113.7"), lambda folder: world.get("disk", 50 * GB))
    secrets = Secrets(config.parent, world.get("secrets", {}))
    result = checks.run(config, config.parent / "state", ManualClock(now), account=account, credentials=secrets, probes=probes)
    assert result["ok"] is (result["wrong"] == 0)
    assert result["wrong"] == sum(found["status"] == "wrong" for found in result["checks"])
    by_name: dict[str, list[dict[str, str]]] = {}
    for found in result["checks"]:
        assert found["remedy"] or found["status"] == "ok", f"no remedy for {found}"
        by_name.setdefault(found["name"], []).append(found)
    return by_name


def statuses(found: dict[str, list[dict[str, str]]], name: str) -> set[str]:
    return {one["status"] for one in found[name]}


def test_a_fresh_machine_may_practise(config: Path) -> None:
    found = look(config, "practice")
    assert {one["status"] for group in found.values() for one in group} <= {"ok", "note"}
    assert found.keys() >= {
        "config", "credentials", "token", "clock", "static IP", "rate budget", "disk", "calendar", "cut-off", "broker",
        "instruments", "database"
    }  # fmt: skip


def test_live_without_secrets_login_and_instruments_is_wrong_with_each_remedy(config: Path) -> None:
    found = look(config, "live")
    assert statuses(found, "credentials") == {"wrong"}
    assert {one["text"] for one in found["credentials"]} == {"ZERODHA_API_KEY is not set", "ZERODHA_API_SECRET is not set"}
    assert found["token"][0]["remedy"] == "set them, then main.py login zerodha --account live"
    assert found["instruments"][0]["remedy"] == "main.py instruments update --account live"


def test_with_its_secrets_an_account_still_needs_the_days_login(config: Path) -> None:
    found = look(config, "live", secrets={"ZERODHA_API_KEY": "key", "ZERODHA_API_SECRET": "a secret"})
    assert statuses(found, "credentials") == {"ok"}
    assert (found["token"][0]["status"], found["token"][0]["text"]) == ("wrong", "session LOGIN_REQUIRED")
    assert found["token"][0]["remedy"] == "main.py login zerodha --account live"
    assert "a secret" not in str(found)


@pytest.mark.parametrize(("skew", "status"), [(0.5, "ok"), (-2.5, "ok"), (4.0, "wrong"), (-40.0, "wrong")])
def test_a_clock_that_is_off_is_found(config: Path, skew: float, status: str) -> None:
    found = look(config, "paper", broker_time=MONDAY - timedelta(seconds=skew))
    assert statuses(found, "clock") == {status}
    assert f"{skew:+.1f} s" in found["clock"][0]["text"]


def test_a_broker_that_cannot_be_reached_is_no_proof_of_a_good_clock(config: Path) -> None:
    assert statuses(look(config, "paper", broker_time=None), "clock") == {"wrong"}


def test_a_changed_outgoing_address_is_found_until_it_is_confirmed(config: Path) -> None:
    assert statuses(look(config, "live"), "static IP") == {"note"}
    assert statuses(look(config, "live"), "static IP") == {"ok"}
    changed = look(config, "live", address="198.51.100.9")["static IP"][0]
    assert changed["status"] == "wrong"
    assert "203.0.113.7 to 198.51.100.9" in changed["text"]
    (config.parent / "state" / "accounts" / "live" / "address").unlink()  # as the remedy says
    assert statuses(look(config, "live", address="198.51.100.9"), "static IP") == {"note"}
    assert statuses(look(config, "paper", address=None), "static IP") == {"ok"}


def test_too_little_disk_is_wrong_and_says_how_much(config: Path) -> None:
    found = look(config, "practice", disk=GB)
    assert statuses(found, "disk") == {"wrong"}
    assert "free 1.0 GB" in found["disk"][0]["remedy"]


def test_a_provisional_year_is_a_note_in_practice_and_wrong_for_live(config: Path) -> None:
    january = datetime(2027, 1, 11, 8, 0, tzinfo=IST)
    assert "wrong" in statuses(look(config, "live", january), "calendar")
    assert "wrong" not in statuses(look(config, "practice", january), "calendar")
    overrides = config / "market" / "overrides.yaml"
    overrides.write_text(overrides.read_text().replace("confirmed_years: []", "confirmed_years: [2027]"))
    assert "wrong" not in statuses(look(config, "live", january), "calendar")


def test_an_unknown_cut_off_is_wrong_for_live_and_assumed_in_practice(config: Path) -> None:
    december = datetime(2026, 12, 8, 8, 0, tzinfo=IST)  # cut-offs after 2026-12-07 are not published
    live = look(config, "live", december)["cut-off"]
    assert {one["status"] for one in live} == {"wrong"}
    assert any("F&O on 2026-12-08: unknown" in one["text"] for one in live)
    assert all("mis_squareoff" in one["remedy"] for one in live)
    practice = look(config, "practice", december)["cut-off"]
    assert {one["status"] for one in practice} == {"note"}
    assert any("(assumed), square-off" in one["text"] for one in practice)


def test_known_cut_offs_say_when_the_square_off_starts(config: Path) -> None:
    texts = [one["text"] for one in look(config, "live")["cut-off"]]
    assert "F&O on 2026-11-16: 15:26 (confirmed), square-off 15:20" in texts
    assert "equity with F&O on 2026-11-16: 15:12 (confirmed), square-off 15:06" in texts


def test_more_orders_than_the_broker_takes_are_refused_before_the_day(config: Path) -> None:
    found = look(config, "practice")
    assert statuses(found, "rate budget") == {"ok"}
    risk = config / "risk.yaml"
    text = risk.read_text()
    assert "orders_per_day:" in text
    risk.write_text("\n".join("orders_per_day: 5000" if line.startswith("orders_per_day:") else line for line in text.splitlines()))
    assert statuses(look(config, "practice"), "config") == {"wrong"}  # the schema's own bound speaks first


def protect(config: Path, text: str) -> None:
    settings = config / "settings.yaml"
    head, _, rest = settings.read_text().partition("protect:\n  by: auto\n  distance_pct: 1.0")
    settings.write_text(f"{head}protect: {text} #{rest}")


@pytest.mark.parametrize("by", ["auto", "broker"])
def test_live_has_its_stops_at_the_broker(config: Path, by: str) -> None:
    protect(config, f"{{by: {by}, distance_pct: 1.0}}")
    (found,) = look(config, "live")["protection"]
    assert (found["status"], found["text"]) == ("ok", "each position has its stop at the broker")
    assert "protection" not in look(config, "paper")


@pytest.mark.parametrize(("broker", "status"), [("zerodha", "ok"), ("groww", "note")])
def test_it_says_whether_what_is_carried_has_a_stop_overnight(config: Path, broker: str, status: str) -> None:
    assert "overnight" not in look(config, "live"), "nothing is carried"
    strategy, settings = config / "strategies" / "nifty_trend.yaml", config / "settings.yaml"
    strategy.write_text(strategy.read_text().replace("horizon: intraday", "horizon: carry"))
    head, _, rest = settings.read_text().partition("\n  live:")
    settings.write_text(f"{head}\n  live:{rest.replace('broker: zerodha', f'broker: {broker}', 1)}")
    protect(config, "{by: broker, distance_pct: 1.0}")
    (found,) = look(config, "live")["overnight"]
    assert (found["status"], "nifty_trend" in found["text"]) == (status, True)


def test_live_refuses_a_strategy_that_may_hold_a_position_without_a_stop(config: Path) -> None:
    protect(config, "{by: engine, distance_pct: null}")
    found = look(config, "live")["protection"]
    assert {one["status"] for one in found} == {"wrong"}
    assert {one["text"].split()[1] for one in found} == {"banknifty_vwap", "reliance_opening_range"}  # nifty_trend has a stop_pct
    with pytest.raises(ConfigError, match=r"strategy banknifty_vwap has no stop.*risk\.stop_pct in strategies/banknifty_vwap\.yaml"):
        daemon.run(RunOptions(config, config.parent / "state", account="live"))


def test_stops_that_the_engine_holds_may_be_accepted_for_live(config: Path) -> None:
    protect(config, "{by: engine, distance_pct: 1.0}")
    assert statuses(look(config, "live"), "protection") == {"note"}


def test_every_config_fault_is_a_finding_of_its_own(config: Path) -> None:
    settings, strategy = config / "settings.yaml", config / "strategies" / "nifty_trend.yaml"
    settings.write_text(settings.read_text().replace("lead_minutes: 6", "lead_minuts: 6"))
    strategy.write_text(strategy.read_text().replace("fast: 9", "fsat: 9"))
    found = look(config, "practice")
    assert found.keys() == {"config"}
    texts = " ".join(one["text"] for one in found["config"])
    assert "settings.yaml" in texts
    assert "lead_minutes" in texts
    assert "nifty_trend.yaml" in texts


def test_an_account_that_does_not_exist_is_named(config: Path) -> None:
    assert "'mine'" in look(config, "mine")["config"][0]["text"]


def test_no_enabled_strategy_is_a_day_without_trading(config: Path) -> None:
    for strategy in (config / "strategies").glob("*.yaml"):
        strategy.write_text(strategy.read_text().replace("enabled: true", "enabled: false"))
    assert look(config, "practice")["config"][0]["remedy"] == "enable a strategy"


def test_a_ledger_that_does_not_open_is_wrong(config: Path) -> None:
    folder = account_folder(config.parent / "state", "paper")
    folder.ledger.write_bytes(b"this is no database at all, but it is long enough to be looked at" * 20)
    found = look(config, "paper")["database"][0]
    assert found["status"] == "wrong"
    assert "restore the ledger" in found["remedy"]


def test_the_day_ahead_is_checked_not_a_holiday(config: Path) -> None:
    saturday = T0 + timedelta(days=1)
    found = look(config, "live", saturday)["cut-off"]
    assert found
    assert all("2026-11-23" in one["text"] for one in found)


def test_what_the_broker_cannot_express_is_told_with_the_alternative(config: Path) -> None:
    assert statuses(look(config, "paper"), "broker") == {"ok"}
    settings, strategy = config / "settings.yaml", next((config / "strategies").glob("nifty_trend.yaml"))
    settings.write_text(settings.read_text().replace("kind: paper\n    broker: zerodha", "kind: paper\n    broker: upstox"))
    assert statuses(look(config, "paper"), "broker") == {"ok"}
    strategy.write_text(strategy.read_text().replace("[NIFTY_FUT]", "[MCX:GOLD26DECFUT]"))
    (found,) = look(config, "paper")["broker"]
    assert (found["status"], "trade the NSE contract" in found["text"]) == ("wrong", True)
    assert found["remedy"] == "change the strategy, or trade it with another broker's account"


@pytest.mark.parametrize(("stand_in", "status"), [("true", "note"), ("false", "wrong")])
def test_a_broker_without_an_intraday_product_for_shares_is_told_beforehand(config: Path, stand_in: str, status: str) -> None:
    settings = config / "settings.yaml"
    text = settings.read_text().replace("    kind: paper\n    broker: zerodha", "    kind: paper\n    broker: icici")
    settings.write_text(text.replace("\norders:\n", f"\norders:\n  stand_in: {stand_in}\n", 1))
    (found, *_) = [one for one in look(config, "paper")["broker"] if one["status"] != "ok"]
    assert found["status"] == status
    assert "no intraday product for shares" in found["text"]
    assert statuses(look(config, "paper"), "rate budget") == {"ok"}, "what history and quotes may take is no limit of orders"


def test_prices_from_another_broker_need_its_login_and_its_list_too(config: Path) -> None:
    settings = config / "settings.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("    kind: live\n", "    kind: live\n    data_broker: upstox\n", 1))
    found = look(config, "live", secrets={"ZERODHA_API_KEY": "key", "ZERODHA_API_SECRET": "a secret"})
    assert {one["text"] for one in found["credentials"] if one["status"] == "wrong"} >= {
        "UPSTOX_API_KEY is not set",
        "UPSTOX_API_SECRET is not set",
    }
    assert [one["remedy"] for one in found["token"]] == [
        "main.py login zerodha --account live",
        "set them, then main.py login upstox --account live",
    ]
    assert [one["text"] for one in found["instruments"]] == ["zerodha: no snapshot is kept yet", "upstox: no snapshot is kept yet"]
    assert found["prices"][0]["text"].startswith("from Upstox, orders at Zerodha")


def test_what_the_prices_broker_does_not_list_is_told_beforehand(config: Path) -> None:
    settings = config / "settings.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("    kind: live\n", "    kind: live\n    data_broker: upstox\n", 1))
    folder, calendar = account_folder(config.parent / "state", "live").instruments, load_calendar()
    lists = {"zerodha": rows(), "upstox": rows(drop=("RELIANCE",))}
    for broker, lines in lists.items():
        InstrumentStore(folder, calendar, broker).update(Source(dump(lines)), Spec(), DAY, MONDAY)
    found = look(config, "live", now=NOW)
    assert statuses(found, "prices") == {"ok", "note", "wrong"}
    [wrong] = [one for one in found["prices"] if one["status"] == "wrong"]
    assert wrong["text"].startswith("NSE:RELIANCE is not in the instruments of Upstox")
    assert "NIFTY_FUT is NFO:NIFTY26NOVFUT in both lists" in {one["text"] for one in found["prices"]}


def test_accounts_side_by_side_are_all_checked(config: Path) -> None:
    settings = config / "settings.yaml"
    settings.write_text(settings.read_text().replace("account: practice\n", "account: paper\nbeside: [live]\n", 1))
    probes = checks.Probes(lambda url: MONDAY, lambda: "203.0.113.7", lambda folder: 50 * GB)
    result = checks.of_all(config, config.parent / "state", ManualClock(MONDAY), probes=probes)
    assert {one["account"] for one in result["checks"]} == {"paper", "live"}
    assert result["wrong"] == sum(one["status"] == "wrong" for one in result["checks"]) > 0
    assert any(one["text"].startswith("live: ZERODHA_API_KEY is not set") for one in result["checks"])
    alone = checks.of_all(config, config.parent / "state", ManualClock(MONDAY), account="live", probes=probes)
    assert all("account" not in one for one in alone["checks"])
