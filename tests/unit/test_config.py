"""The configuration: what is shipped loads, and whatever is wrong is refused with file, line, value and the nearest right name."""

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import registry as brokers
from core.errors import ConfigError
from core.types import AccountKind, Instrument, Kind
from risk.settings import MarginSettings, RiskSettings
from strategies import registry
from utils.config_loader import CONFIG_FOLDER, ROOT, Secrets, build_hash, load, load_calendar
from utils.config_schema import Corrections, Margin, Risk, Settings, StrategySettings
from utils.yaml_file import read

Place = tuple[str | int, ...]


def check_strategy(name: str, params: Mapping[str, Any]) -> object:
    return registry.params_of(name).parse(params)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped configuration, free to be spoilt."""
    shutil.copytree(CONFIG_FOLDER, tmp_path / "config", ignore=shutil.ignore_patterns("secrets.env"))
    return tmp_path / "config"


def spoil(folder: Path, name: str, old: str, new: str) -> Path:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, check_strategy=check_strategy)
    return str(caught.value)


def verdict(folder: Path) -> str | None:
    """What is said against the folder; None when it loads."""
    try:
        load(folder, check_strategy=check_strategy)
    except ConfigError as error:
        return str(error)
    return None


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_the_shipped_configuration_loads() -> None:
    config = load(check_strategy=check_strategy)
    assert {name: account.kind for name, account in config.settings.accounts.items()} == {
        "practice": AccountKind.PRACTICE,
        "practice-live": AccountKind.PRACTICE_LIVE,
    }
    assert config.settings.account == "practice"
    assert config.square_off.time == time(15, 20)
    assert config.square_off.lead_minutes == 6
    assert config.strategies
    assert config.settings.accounts["practice"].account("practice").capital == 1_000_000


def test_the_shipped_files_spell_out_the_schemas_defaults() -> None:
    """What the comments and the code say is the same: a section left out means what the shipped file shows."""
    settings = load().settings
    for section in ("database", "api", "alerts", "orders", "log"):
        assert getattr(settings, section) == Settings.model_fields[section].default, section


def test_risk_yaml_has_exactly_the_caps_that_risk_knows() -> None:
    assert set(Risk.model_fields) == set(RiskSettings.__struct_fields__) - {"strategies"}
    assert set(Margin.model_fields) == set(MarginSettings.__struct_fields__)
    risk = load().risk.model_dump()
    assert RiskSettings(**{**risk, "margin": MarginSettings(**risk["margin"])}) == RiskSettings()


@pytest.mark.parametrize(
    ("name", "old", "new", "marker", "fragments"),
    [
        (
            "settings.yaml",
            "transport:",
            "transprot:",
            "transprot",
            ["feed.transprot", "no such key", "'native'", "did you mean transport?"],
        ),
        ("settings.yaml", "  port: 8000", "  port: 80000", "port: 80000", ["api.port", "less than or equal to 65535", "got 80000"]),
        ("settings.yaml", "  port: 8000", '  port: "8000"', "  port:", ["api.port", "valid integer", "got '8000'"]),
        (
            "settings.yaml",
            "    kind: practice\n",
            "    kind: practise\n",
            "practise",
            ["accounts.practice.kind", "got 'practise'", "did you mean practice?"],
        ),
        ("settings.yaml", "    broker: zerodha", "    broker: zeroda", "zeroda", ["accounts.practice.broker", "did you mean zerodha?"]),
        (
            "settings.yaml",
            "account: practice\n",
            "account: practise\n",
            "account: practise",
            ["no account 'practise'", "did you mean practice?"],
        ),
        ("settings.yaml", 'time: "15:20"', "time: 15:20", "time: 15:20", ["square_off.time", 'in quotes: "15:20"', "got 920"]),
        ("settings.yaml", 'time: "15:20"', 'time: "3:20 pm"', "3:20 pm", ["square_off.time", '"HH:MM"', "got '3:20 pm'"]),
        ("settings.yaml", 'time: "15:00"', 'time: "24:00"', "24:00", ["rollover.time", "got '24:00'"]),
        ("settings.yaml", "url: sqlite", "url: postgresql://me:pw@host/db", "url:", ["database.url", "NIYAM_DATABASE_PASSWORD"]),
        ("settings.yaml", "url: sqlite", "url: mysql://host/db", "url:", ["database.url", "got 'mysql://host/db'"]),
        ("settings.yaml", "    capital: 1000000", "    capital: .nan", ".nan", ["accounts.practice.capital", "finite"]),
        (
            "settings.yaml",
            "levels: [page, warn]",
            "levels: [page, page]",
            "levels:",
            ["alerts.levels", "page stands in the list more than once"],
        ),
        (
            "risk.yaml",
            "max_daily_loss:",
            "max_dayly_loss:",
            "max_dayly_loss",
            ["max_dayly_loss", "did you mean max_daily_loss?", "this key is missing"],
        ),
        ("risk.yaml", "max_daily_loss: 25000", "max_daily_loss: -1", "max_daily_loss", ["max_daily_loss", "greater than 0", "got -1"]),
        ("risk.yaml", "price_band_pct: 3.0", "price_band_pct: 30", "max_order_value", ["price_band_pct (30) is above exit_band_pct (20)"]),
        ("risk.yaml", "  index_future: 0.13", "  index_future: 13", "index_future", ["margin.index_future", "less than or equal to 1"]),
        (
            "strategies/nifty_trend.yaml",
            "class: sma_cross",
            "class: sma_cros",
            "class:",
            ["no strategy class 'sma_cros'", "did you mean sma_cross?"],
        ),
        ("strategies/nifty_trend.yaml", "interval: 5m", "interval: 7m", "interval:", ["interval", "1m, 3m, 5m, 15m", "got '7m'"]),
        ("strategies/nifty_trend.yaml", "horizon: intraday", "horizon: intra", "horizon:", ["horizon", "did you mean intraday?"]),
        ("strategies/nifty_trend.yaml", "enabled: true", "enabled: yes please", "enabled:", ["enabled", "got 'yes please'"]),
    ],
)
def test_what_is_wrong_is_said_with_place_value_and_nearest_name(
    folder: Path, name: str, old: str, new: str, marker: str, fragments: list[str]
) -> None:
    if name.startswith("strategies") and old not in (folder / name).read_text():
        (folder / name).write_text((folder / name).read_text() + f"\n{old}\n")
    path = spoil(folder, name, old, new)
    message = refusal(folder)
    assert f"{path}:" in message
    for fragment in fragments:
        assert fragment in message
    if "is above" not in message:
        assert f"{path}:{line_of(path, marker)}:" in message


def test_all_faults_are_told_at_once(folder: Path) -> None:
    spoil(folder, "settings.yaml", "  port:", "  prot:")
    spoil(folder, "risk.yaml", "max_order_value: 3000000", "max_order_value: lots")
    spoil(folder, "strategies/nifty_trend.yaml", "instruments:", "instrument:")
    lines = refusal(folder).splitlines()
    assert any("api.prot" in line and "did you mean port?" in line for line in lines)
    assert any("max_order_value" in line and "'lots'" in line for line in lines)
    assert any("instrument" in line and "did you mean instruments?" in line for line in lines)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("{}", "exactly one of lots, quantity, capital, risk; got none"),
        ("{lots: 1, capital: 5000}", "got lots, capital"),
        ("{lots: 0}", "greater than 0"),
        ("{lots: 1.5}", "valid integer"),
        ("{lots: true}", "valid integer"),
        ("{lotss: 1}", "did you mean lots?"),
    ],
)
def test_a_size_is_one_positive_number(folder: Path, size: str, expected: str) -> None:
    path = folder / "strategies" / "nifty_trend.yaml"
    path.write_text(re.sub(r"(?m)^size:.*$", f"size: {size}", path.read_text()))
    assert expected in refusal(folder)


def test_a_strategys_window_account_and_params_are_judged(folder: Path) -> None:
    path = folder / "strategies" / "extra.yaml"
    base = "class: sma_cross\ninstruments: [NIFTY_FUT]\ninterval: 5m\nsize: {lots: 1}\nhorizon: intraday\n"
    for addition, expected in (
        ('window: {entry_from: "15:00", entry_until: "10:00"}\n', f"{path}:6: window: entry_from 15:00 is not before entry_until 10:00"),
        ("account: practise\n", f"{path}:6: account: no account 'practise' in settings.yaml; did you mean practice?"),
        ("params:\n  fast: 5\n  slwo: 9\n", f"{path}:8: slwo: no such parameter"),
        ("params: {fast: [1]}\n", f"{path}:6: params.fast"),
        ("instruments: [X]\n", "the key 'instruments' stands here a second time (first in line 2)"),
    ):
        path.write_text(base + addition)
        assert expected in refusal(folder)
    (folder / "strategies" / "before.yaml").write_text("class: 7\n")  # a broken neighbour does not shift the blame
    path.write_text(base + "account: practise\n")
    assert f"{path}:6: account: no account 'practise'" in refusal(folder)
    path.write_text(base.replace("[NIFTY_FUT]", "[]"))
    assert "at least 1 item" in refusal(folder)


@pytest.mark.parametrize("name", ["manual", "EXTERNAL"])
def test_no_strategy_may_bear_a_name_that_means_somebody_else(folder: Path, name: str) -> None:
    path = folder / "strategies" / f"{name}.yaml"
    path.write_text("class: sma_cross\ninstruments: [NIFTY_FUT]\ninterval: 5m\nsize: {lots: 1}\nhorizon: intraday\n")
    assert f"{path}:1: no strategy may be called '{name}'" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accounts: {a: 1\n", "no YAML"),
        ("- a\n- b\n", "expected keys and values, got ['a', 'b']"),
        ("", "expected keys and values, got None"),
        ("account: practice\naccount: practice\n", ":2: the key 'account' stands here a second time (first in line 1)"),
        ("api: !!python/object:os.system {}\n", "account"),
        ("api: &a [*a]\n", ":1: an alias that contains itself"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("base: &b {x: 1}\napi:\n  <<: *b\n", ":3: merge keys (<<)"),
        ("account: 2026-13-45\n", ":1: the value '2026-13-45' cannot be read"),
    ],
)
def test_files_that_are_no_plain_yaml_mapping_are_refused_with_the_line(folder: Path, text: str, expected: str) -> None:
    (folder / "settings.yaml").write_text(text)
    message = refusal(folder)
    assert str(folder / "settings.yaml") in message
    assert expected in message


def test_a_missing_or_unreadable_file_is_named(folder: Path) -> None:
    (folder / "risk.yaml").unlink()
    assert f"{folder / 'risk.yaml'}: cannot be read (No such file or directory)" in refusal(folder)
    (folder / "risk.yaml").write_bytes(b"max: \xff\xfe")
    assert "is not UTF-8 text" in refusal(folder)


# --- mutation: every key deleted, misspelt, retyped, negated ----------------------------------------------------------------------------

FREE_NAMES = {("accounts", "practice-live")}  # a name of the user's own: any other is as good
DOCUMENTED_DEFAULTS = {
    "settings.yaml": [
        "database",
        "database.url",
        "feed.transport",
        "feed.canary",
        "api",
        "api.host",
        "api.port",
        "alerts",
        "alerts.levels",
        "alerts.webhook",
        "alerts.telegram_chat",
        "square_off.commodity_time",
        "square_off.currency_time",
        "rollover.rule",
        "rollover.index_days",
        "rollover.stock_days",
        "rollover.oi_from_days",
        "rollover.max_slippage_pct",
        "rollover.attempts",
        "rollover.physical_days",
        "orders",
        "orders.cap_pct",
        "orders.steps",
        "orders.step_s",
        "protect",
        "protect.by",
        "protect.distance_pct",
        "log",
        "log.level",
        "log.keep_days",
    ],
    "risk.yaml": [],
    "strategy": [
        "params",
        "window",
        "window.entry_from",
        "window.entry_until",
        "risk",
        "risk.max_loss",
        "risk.stop_pct",
        "account",
        "enabled",
    ],
}
"""Keys that may be left out: utils/config_schema.py gives them a default."""


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*place, key)
            yield from places(inner, (*place, key))


def at(value: Any, place: Place) -> Any:
    for part in place:
        value = value[part]
    return value


def mutants(value: dict[str, Any]) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """(what was done, where, the spoilt document)."""
    for place in places(value):
        *parents, key = place
        for how in ("deleted", "misspelt", "retyped", "negated"):
            changed = copy.deepcopy(value)
            parent = at(changed, tuple(parents))
            old = parent[key]
            if how == "deleted":
                del parent[key]
            elif how == "misspelt":
                parent[f"{key}x"] = parent.pop(key)
            elif how == "retyped":
                parent[key] = 7 if isinstance(old, str) else "text" if isinstance(old, int | float | bool) else [{"a": 1}]
            elif isinstance(old, int | float) and not isinstance(old, bool):
                parent[key] = -old
            else:
                continue
            yield how, place, changed


def allowed(file: str, how: str, place: Place) -> bool:
    dotted = ".".join(str(part) for part in place)
    if place in FREE_NAMES and how in ("deleted", "misspelt"):
        return True
    if how == "deleted":
        return dotted in DOCUMENTED_DEFAULTS[file] or dotted.startswith("params.")
    return False


@pytest.mark.parametrize(
    "name", ["settings.yaml", "risk.yaml", *(f"strategies/{path.name}" for path in (CONFIG_FOLDER / "strategies").glob("*.yaml"))]
)
def test_each_spoilt_key_of_the_shipped_files_is_refused_or_has_a_documented_default(folder: Path, name: str) -> None:
    path = folder / name
    original = yaml.safe_load(path.read_text())
    kind = "strategy" if name.startswith("strategies") else name
    seen = {"deleted": 0, "misspelt": 0, "retyped": 0, "negated": 0}
    for how, place, document in mutants(original):
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        described = f"{name}: {'.'.join(map(str, place))} {how}"
        seen[how] += 1
        message = verdict(folder)
        if message is None:
            assert allowed(kind, how, place), f"{described} was accepted"
            continue
        assert re.search(rf"(?m)^{re.escape(str(path))}:\d+: ", message), described
        if how == "misspelt" and place != ("accounts", "practice"):
            assert f"did you mean {place[-1]}" in message, f"{described}: {message}"
    assert min(seen["deleted"], seen["misspelt"], seen["retyped"]) >= 5


# --- the operator's overrides -------------------------------------------------------------------------------------------------------------


def test_the_commented_examples_of_the_overrides_are_valid(folder: Path) -> None:
    path = folder / "market" / "overrides.yaml"
    text = re.sub(r"(?m)^(\w+): (\[\]|\{\})$", r"\1:", path.read_text())
    path.write_text(re.sub(r"(?m)^#(  .*)$", r"\1", text))
    calendar = load(folder).calendar(AccountKind.LIVE)
    assert not calendar.trading_day("FO", date(2026, 12, 9))
    assert calendar.trading_day("FO", date(2026, 12, 25))
    assert calendar.trading_day("FO", date(2026, 11, 8))
    assert calendar.status(date(2027, 2, 1)) == "confirmed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("closd: []", "did you mean closed?"),
        ("closed: [{d: 2026-12-09, n: Election, segments: [NSE]}]", "closed.0.segments.0"),
        ("closed: [{d: '2026-12-09', n: Election, segments: [EQ]}]", "closed.0.d"),
        ("special_sessions: [{d: 2026-11-08, kind: muhurat, segments: [EQ], sessions: [['19:00', '18:00']]}]", "a start and a later end"),
        ("special_sessions: [{d: 2026-11-08, kind: muhurat, segments: [EQ], sessions: [[18:00, 19:00]]}]", 'in quotes: "18:00"'),
        ("special_sessions: [{d: 2026-11-08, kind: muhurat, segments: [EQ]}]", "special_sessions.0.sessions: this key is missing"),
        ("mis_squareoff: {zerodha: {versions: [{from: 2026-12-07, to: null, FO: '15.26'}]}}", "got '15.26'"),
        ("mis_squareoff: {zerodha: {versions: [{from: 2026-12-07, to: null, F0: '15:26'}]}}", "did you mean FO?"),
        ("mis_squareoff: {zerodha: {versions: [{from: 2026-12-07, to: 2026-12-01, FO: '15:26'}]}}", "is before from"),
        ("segments: {FO: {versions: [{from: 2026-12-07, to: null, phases: [{name: x, start: '09:15', end: '15:30'}]}]}}", "phases.0.name"),
    ],
)
def test_a_slip_in_the_overrides_is_refused_with_its_line(folder: Path, text: str, expected: str) -> None:
    path = folder / "market" / "overrides.yaml"
    path.write_text(f"schema_version: 1\n{text}\n")
    message = refusal(folder)
    assert f"{path}:2:" in message
    assert expected in message


def test_overrides_take_effect_when_the_calendar_is_built_again(folder: Path) -> None:
    assert load_calendar(folder).trading_day("FO", date(2026, 11, 26))
    spoil(folder, "market/overrides.yaml", "closed: []", 'closed: [{d: 2026-11-26, n: "Ad hoc", segments: [EQ, FO]}]')
    assert not load_calendar(folder).trading_day("FO", date(2026, 11, 26))
    assert load_calendar(folder, overrides=False).trading_day("FO", date(2026, 11, 26))


def test_only_practice_kinds_assume_cut_offs() -> None:
    config = load()
    assert Corrections.model_validate(read(CONFIG_FOLDER / "market" / "assumed.yaml").value).mis_squareoff
    nifty = Instrument("NFO:NIFTY26DECFUT", "NFO", "NIFTY26DECFUT", Kind.FUTURE, "NIFTY", 65, expiry=date(2026, 12, 29))
    for kind in AccountKind:
        status = config.calendar(kind).cut_off("zerodha", nifty, date(2026, 12, 8)).status
        assert status == ("assumed" if kind in (AccountKind.PRACTICE, AccountKind.PRACTICE_LIVE) else "unknown")


def test_broken_market_facts_are_refused_with_their_place(folder: Path) -> None:
    spoil(folder, "market/charges.yaml", "schema_version: 1", "schema_version: 2")
    assert f"{folder / 'market' / 'charges.yaml'}:2: expected market facts" in refusal(folder)
    spoil(folder, "market/charges.yaml", "schema_version: 2", "schema_version: 1")
    spoil(folder, "market/charges.yaml", 'the virtual contract note", paise: 1', 'the virtual contract note", paise: a penny')
    assert "charges.yaml: told: zerodha: paise 'a penny'" in refusal(folder)
    spoil(folder, "market/charges.yaml", 'the virtual contract note", paise: a penny', 'the virtual contract note", paise: 1')
    spoil(folder, "market/sessions.yaml", "segments:", "segmnets:")
    assert "the market facts have not their usual form (KeyError: 'segments')" in refusal(folder)


# --- hashes, secrets, import cost ---------------------------------------------------------------------------------------------------------


def test_the_hash_is_stable_and_changes_with_any_file(folder: Path, tmp_path: Path) -> None:
    first = load(folder)
    assert first.hash == load(folder).hash == load().hash
    assert "market/overrides.yaml" in first.files
    spoil(folder, "risk.yaml", "max_daily_loss: 25000", "max_daily_loss: 24000")
    assert load(folder).hash != first.hash
    one = load(folder, strategy=CONFIG_FOLDER / "strategies" / "nifty_trend.yaml")
    assert list(one.strategies) == ["nifty_trend"]


def test_the_build_hash_covers_the_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = build_hash(tmp_path)
    assert first == build_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert build_hash(tmp_path) != first
    assert re.fullmatch(r"[0-9a-f]{64}", build_hash())


def test_secrets_come_from_the_environment_then_the_files(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / ".env").write_text("ZERODHA_API_KEY=from-dot-env\nONLY_HERE='quoted value'\nEMPTY=\n")
    (tmp_path / "config" / "secrets.env").write_text("ZERODHA_API_KEY=from-secrets\nLAST_PLACE=found\nEMPTY=not-empty\n")
    secrets = Secrets(tmp_path, {"ZERODHA_API_SECRET": "from-environment", "BLANK": " "})
    assert secrets.get_secret("ZERODHA_API_SECRET") == "from-environment"
    assert secrets.get_secret("ZERODHA_API_KEY") == "from-dot-env"
    assert secrets.get_secret("ONLY_HERE") == "quoted value"
    assert secrets.get_secret("LAST_PLACE") == "found"
    assert secrets.get_secret("EMPTY") == "not-empty"
    assert secrets.find("BLANK") is None
    with pytest.raises(ConfigError) as caught:
        secrets.get_secret("ZERODHA_TOTP_SECRET")
    message = str(caught.value)
    assert "ZERODHA_TOTP_SECRET is not set" in message
    for place in ("the environment", str(tmp_path / ".env"), str(tmp_path / "config" / "secrets.env")):
        assert place in message
    assert "from-" not in message
    with pytest.raises(ConfigError, match="capitals"):
        secrets.get_secret("not a name")


def test_the_example_env_names_only_what_is_documented() -> None:
    names = re.findall(r"(?m)^([A-Z_]+)=", (ROOT / ".env.example").read_text())
    assert {secret for broker in brokers.names() for secret in brokers.get(broker).secrets} <= set(names)
    assert all(re.search(rf"(?m)^{name}=$", (ROOT / ".env.example").read_text()) for name in names)


def test_importing_the_loader_brings_in_none_of_its_libraries() -> None:
    code = "import sys; from utils.config_loader import config; print({'yaml', 'pydantic', 'dotenv', 'loguru'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_every_section_refuses_unknown_keys_and_is_frozen() -> None:
    for model in (Settings, Risk, StrategySettings, Corrections):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
