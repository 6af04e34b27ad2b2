"""Reads the configuration folder and the secrets: everything wrong in it is said at once, with file, line, value and the nearest name.

`load(folder)` is for the daemon and the CLI. `config` is for bare scripts: `config.get_secret("ZERODHA_API_KEY")`. Importing this module
is cheap: YAML, pydantic and dotenv are imported when they are first needed. It is the only module that reads the environment.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.errors import ConfigError
from core.market import Calendar, SquareOffSettings
from core.types import PRACTICE_KINDS, AccountKind
from utils.redaction import register_secret

if TYPE_CHECKING:
    from pydantic import ValidationError

    from storage.credentials import Vault
    from utils.config_schema import Risk, Settings, StrategySettings
    from utils.yaml_file import Document

ROOT = Path(__file__).resolve().parents[1]
CONFIG_FOLDER = ROOT / "config"
CheckStrategy = Callable[[str, Mapping[str, Any]], object]
"""Judges (class, params) of a strategy; a ValueError it raises may carry `parameter`, the name of the wrong one (or "class")."""


class Config(msgspec.Struct, frozen=True):
    """A whole, valid configuration. `strategies` is by name (the file's stem); `hash` is SHA-256 over all `files`, whose own it lists."""

    folder: Path
    settings: "Settings"
    risk: "Risk"
    strategies: Mapping[str, "StrategySettings"]
    hash: str
    files: Mapping[str, str]

    @property
    def square_off(self) -> SquareOffSettings:
        """The configured part of the square-off rule, for core.market."""
        given = self.settings.square_off
        return SquareOffSettings(given.time, given.lead_minutes, given.commodity_time, given.currency_time)

    def calendar(self, kind: AccountKind) -> Calendar:
        """The market calendar for an account of this kind: practice may assume cut-offs, paper and live never do. Reads the files anew."""
        return load_calendar(self.folder, assumed_cut_offs=kind in PRACTICE_KINDS)


def load(
    folder: Path = CONFIG_FOLDER,
    *,
    strategy: Path | Sequence[Path] | None = None,
    check_strategy: CheckStrategy | None = None,
    instead: Mapping[Path, str] | None = None,
) -> Config:
    """Read and judge the whole folder, market facts included; raises ConfigError with every fault found.

    `strategy` names one strategy file, or several, to run instead of all in strategies/. Wiring passes the registry's check as
    `check_strategy`.
    `instead` is text that strategy files are judged by before it is written to them; it must not change what is on disk.
    """
    from utils.config_schema import Risk, Settings, StrategySettings  # pydantic: 0.1 s that a mere import must not cost
    from utils.yaml_file import read

    faults: list[str] = []
    documents: dict[str, Document] = {}

    def parse(path: Path, model: Any) -> Any:
        try:
            document = read(path, (instead or {}).get(path))
        except ConfigError as error:
            faults.append(str(error))
            return None
        documents[path.stem] = document
        return _validated(document, model, faults)

    settings: Settings | None = parse(folder / "settings.yaml", Settings)
    at_settings = documents.pop("settings", None)
    risk: Risk | None = parse(folder / "risk.yaml", Risk)
    documents.pop("risk", None)
    if strategy is None:
        paths = sorted((folder / "strategies").glob("*.yaml"))
    else:
        paths = [strategy] if isinstance(strategy, Path) else list(strategy)
    stems = [path.stem for path in paths]
    faults += [f"two strategy files are named {stem}: give one of them another name" for stem in sorted({*stems}) if stems.count(stem) > 1]
    strategies: dict[str, StrategySettings] = {}
    for path in paths:
        found: StrategySettings | None = parse(path, StrategySettings)
        if found is not None:
            strategies[path.stem] = found
            if check_strategy is not None:
                faults += _judge(documents[path.stem], found, check_strategy)
    if settings is not None and at_settings is not None:
        faults += _cross_check(at_settings, settings, documents, strategies)
    try:
        _calendar(folder, _market(folder, assumed=True, overrides=True))
        load_charges(folder)
    except ConfigError as error:
        faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    assert settings is not None
    assert risk is not None
    files = {_relative(path, folder): _digest(path, instead) for path in sorted({*folder.rglob("*.yaml"), *paths})}
    return Config(folder, settings, risk, strategies, _digest_of(files), files)


def load_calendar(folder: Path = CONFIG_FOLDER, *, assumed_cut_offs: bool = False, overrides: bool = True) -> Calendar:
    """The market calendar of market/*.yaml. `assumed_cut_offs` is for practice and backtests alone; `overrides` are the operator's."""
    return _calendar(folder, _market(folder, assumed=assumed_cut_offs, overrides=overrides))


def load_charges(folder: Path = CONFIG_FOLDER) -> Mapping[str, Any]:
    """The facts of market/charges.yaml, for execution_engine.charges.Charges; raises ConfigError where a broker's rounding is missing."""
    facts = _facts(folder, "charges")
    for broker in facts.get("brokers", {}):
        paise = (facts.get("told", {}).get(broker) or {}).get("paise")
        if type(paise) is not int or not 0 < paise < 1000:
            text = f"told: {broker}: paise {paise!r} is no whole number of 1 to 999: how near a broker's charges of an order are to ours"
            raise ConfigError(f"{folder / 'market' / 'charges.yaml'}: {text}")
    return facts


def build_hash(root: Path = ROOT) -> str:
    """SHA-256 over the code that runs: every .py below the project's packages, and requirements.txt."""
    skipped = {".venv", "var", "tests", "docs", ".git"}
    files = [path for path in root.rglob("*.py") if not skipped & set(path.relative_to(root).parts[:1])]
    return _digest_of({_relative(path, root): _digest(path) for path in sorted([*files, root / "requirements.txt"]) if path.exists()})


@cache
def running_build() -> str:
    """`build_hash` of this process: read once, at its first use, whatever becomes of the files later."""
    return build_hash()


def program_changed(began: str, root: Path = ROOT) -> str:
    """What to do where the files below `root` are no longer those of the build `began`; "" where they are."""
    found = build_hash(root)
    if found == began:
        return ""
    return (
        f"this process began with build {began[:12]}, and the files in {root} are build {found[:12]} now: start it again, or put them back"
    )


# --- secrets ------------------------------------------------------------------------------------------------------------------


class Secrets:
    """Secrets by name for scripts and the daemon: the vault, else the environment, else `.env`, else config/secrets.env.

    With `app` the broker's secrets come from that app of the vault. Nothing is cached and nothing is logged; each value handed out is
    masked in every log line from then on.
    """

    def __init__(
        self, root: Path = ROOT, environment: Mapping[str, str] | None = None, *, state: Path | None = None, app: str | None = None
    ) -> None:
        self._root = root
        self._files = (root / ".env", root / "config" / "secrets.env")
        self._environment = environment
        self._state = state
        self._app = app

    def for_app(self, app: str | None) -> "Secrets":
        """The same for an account that names an app of the vault."""
        return self if app is None else Secrets(self._root, self._environment, state=self._state, app=app)

    def get_secret(self, name: str) -> str:
        """The secret of that name; ConfigError names the places searched (never a value)."""
        value = self.find(name)
        if value is None:
            places = ", ".join(["the vault", "the environment", *(str(path) for path in self._files)])
            raise ConfigError(
                f"the secret {name} is not set; looked in {places}; give it by `main.py vault set {name}`, or add a line {name}=... to "
                f"{self._files[0]} (see .env.example)"
            )
        return value

    def find(self, name: str) -> str | None:
        """The same, None where it is not set or empty."""
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise ConfigError(f"a secret's name is written in capitals, digits and underscores, got {name!r}")
        vault = self._vault()
        sealed = vault.find(name, self._app) if vault is not None else None
        if sealed:
            register_secret(sealed)
            return sealed
        for values in self._places():
            value = (values.get(name) or "").strip()
            if value:
                register_secret(value)
                return value
        return None

    def _vault(self) -> "Vault | None":
        """The state folder's vault where there is one; reading the environment alone must not cost its libraries."""
        if self._state is None and self._environment is not None:
            return None  # a made-up environment has no state folder of its own
        state = self._state or _state or Path(os.environ.get("NIYAM_STATE") or "var")
        if not (state / "accounts.sqlite").is_file():
            if self._app is not None:
                raise ConfigError(f"an account names the app {self._app!r}, but there is no vault in {state}: add the app over the API")
            return None
        return vault_of(state.resolve())

    def _places(self) -> Iterator[Mapping[str, str | None]]:
        yield os.environ if self._environment is None else self._environment
        for path in self._files:
            if path.is_file():
                from dotenv import dotenv_values

                yield dotenv_values(path, interpolate=False)


config = Secrets()
"""For bare scripts: `from utils.config_loader import config`."""
_state: Path | None = None


def use_state(folder: Path) -> None:
    """The state folder of this process (`--state`): where its vault is."""
    global _state
    _state = folder


@cache
def vault_of(state: Path) -> "Vault":
    """The vault of a state folder, made if it is not there; unlocked when it is first needed."""
    from storage.account_file import AccountFile
    from storage.credentials import Materials, Vault

    return Vault(AccountFile(state), Materials(state, vault_places()))


def vault_places() -> list[Path]:
    """Where the operator keeps the vault's key or password: the systemd credential `niyam-vault`, the file of NIYAM_VAULT_KEY_FILE."""
    given = os.environ.get("NIYAM_VAULT_KEY_FILE")
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return [*([Path(folder) / "niyam-vault"] if folder else []), *([Path(given)] if given else [])]


def environment(name: str, default: str = "") -> str:
    """A plain (not secret) variable of the environment, such as NIYAM_STATE."""
    return os.environ.get(name, default)


# --- judging ------------------------------------------------------------------------------------------------------------------


def _validated(document: "Document", model: Any, faults: list[str]) -> Any:
    from pydantic import ValidationError

    if not isinstance(document.value, dict):
        faults.append(f"{document.where(())}: expected keys and values, got {_shown(document.value)}; see the shipped {document.path.name}")
        return None
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        faults += _explained(document, model, error)
        return None


def _explained(document: "Document", model: Any, error: "ValidationError") -> list[str]:
    """Each fault as `file:line: place: what, value seen, nearest right name`; parts of one union are told once."""
    texts = []
    for fault in error.errors(include_url=False):
        place = _real_place(fault["loc"], document.value)
        dotted = ".".join(str(part) for part in place) or document.path.name
        where = document.where(place)
        if fault["type"] == "extra_forbidden":
            known = _names_at(model, place[:-1])
            texts.append(f"{where}: {dotted}: no such key (its value is {_shown(fault['input'])}); {_nearest(str(place[-1]), known)}")
        elif fault["type"] == "missing":
            texts.append(f"{where}: {dotted}: this key is missing; {_meaning(model, place)}")
        else:
            context = fault.get("ctx", {})
            message = str(context["error"]) if "error" in context else fault["msg"]
            expected = re.findall(r"'([^']+)'", str(context.get("expected", "")))
            hint = f"; {_nearest(str(fault['input']), expected)}" if expected and isinstance(fault["input"], str) else ""
            texts.append(f"{where}: {dotted}: {message}, got {_shown(fault['input'])}{hint}")
    return list(dict.fromkeys(texts))


def _real_place(location: Iterable[str | int], value: Any) -> tuple[str | int, ...]:
    """Pydantic's location without the parts that name union members and key checks rather than something in the file."""
    place: list[str | int] = []
    parts = list(location)
    for index, part in enumerate(parts):
        inside = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int) and part < len(value))
        if inside:
            value = value[part]
            place.append(part)
        elif isinstance(value, dict) and index == len(parts) - 1 and part != "[key]":
            place.append(part)  # the missing key itself
        else:
            break
    return tuple(place)


def _names_at(model: Any, place: Iterable[str | int]) -> list[str]:
    """The keys that the schema knows at that place."""
    for part in place:
        if hasattr(model, "model_fields"):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = _bare(fields.get(str(part)))
        else:  # inside dict[name, X] or list[X]
            arguments = getattr(model, "__args__", (None,))
            model = _bare(arguments[-1] if model.__origin__ is dict else arguments[0]) if hasattr(model, "__origin__") else None
    return [field.alias or name for name, field in model.model_fields.items()] if hasattr(model, "model_fields") else []


def _bare(annotation: Any) -> Any:
    """The section or container inside `X | None` and the like."""
    if hasattr(annotation, "model_fields") or getattr(annotation, "__origin__", None) in (dict, list, tuple):
        return annotation
    inner = [_bare(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in inner if hasattr(part, "model_fields") or hasattr(part, "__origin__")), annotation)


def _meaning(model: Any, place: tuple[str | int, ...]) -> str:
    known = _names_at(model, place[:-1])
    return f"add it to the keys there ({', '.join(known)})"


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _judge(document: "Document", found: "StrategySettings", check: CheckStrategy) -> list[str]:
    try:
        check(found.class_, found.params)
    except ValueError as error:
        parameter = str(getattr(error, "parameter", "params"))
        place = ("class",) if parameter == "class" else ("params", parameter)
        return [f"{document.where(place)}: {error}"]
    return []


_RESERVED = {"manual": "orders by hand bear that name", "EXTERNAL": "what is not ours bears that name"}


def _cross_check(
    at: "Document", settings: "Settings", documents: Mapping[str, "Document"], strategies: Mapping[str, "StrategySettings"]
) -> list[str]:
    """What fits no single file: names of accounts that must exist. `documents` are the strategies' by name."""
    faults = []
    if settings.account not in settings.accounts:
        where = at.where(("account",))
        faults.append(f"{where}: account: no account {settings.account!r} in accounts; {_nearest(settings.account, settings.accounts)}")
    for other in settings.beside:
        if other not in settings.accounts or other == settings.account:
            why = (
                "is the account in use already"
                if other == settings.account
                else f"is not in accounts; {_nearest(other, settings.accounts)}"
            )
            faults.append(f"{at.where(('beside',))}: beside: {other!r} {why}")
    for name, one in strategies.items():
        if name in _RESERVED:
            faults.append(f"{documents[name].path}:1: no strategy may be called {name!r}: {_RESERVED[name]}; rename the file")
        if one.account is not None and one.account not in settings.accounts:
            where = documents[name].where(("account",))
            faults.append(f"{where}: account: no account {one.account!r} in settings.yaml; {_nearest(one.account, settings.accounts)}")
    return faults


def _market(folder: Path, *, assumed: bool, overrides: bool) -> dict[str, dict[str, Any]]:
    facts = {name: _facts(folder, name) for name in ("holidays", "sessions", "contracts")}
    if overrides and (folder / "market" / "overrides.yaml").exists():
        facts["overrides"] = _corrections(folder, "overrides")
    if assumed:
        facts["assumed"] = _corrections(folder, "assumed")
    return facts


def _calendar(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> Calendar:
    try:
        return Calendar(facts, _roll_leads(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{folder / 'market'}: the market facts have not their usual form ({type(error).__name__}: {error}); restore "
            "the shipped files, and put corrections into overrides.yaml as its comments show"
        ) from error


def _roll_leads(folder: Path) -> tuple[int, int]:
    """settings.yaml's `rollover.index_days` and `.stock_days`; what is not there, or no number, is judged where the settings are."""
    from utils.yaml_file import read

    path = folder / "settings.yaml"
    settings = read(path).value if path.exists() else None
    given = settings.get("rollover") if isinstance(settings, dict) else None
    found = [given.get(name) if isinstance(given, dict) else None for name in ("index_days", "stock_days")]
    index, stock = (days if type(days) is int and 0 <= days <= 10 else usual for days, usual in zip(found, (1, 2), strict=True))
    return index, stock


def _facts(folder: Path, name: str) -> dict[str, Any]:
    from utils.yaml_file import read_shared

    document = read_shared(folder / "market" / f"{name}.yaml")
    if not isinstance(document.value, dict) or document.value.get("schema_version") != 1:
        raise ConfigError(f"{document.where(('schema_version',))}: expected market facts with schema_version: 1; restore the shipped file")
    return document.value


def _corrections(folder: Path, name: str) -> dict[str, Any]:
    """overrides.yaml or assumed.yaml, judged key by key: the first is written by hand, in a hurry, on the morning it is needed."""
    from utils.config_schema import Corrections
    from utils.yaml_file import read

    faults: list[str] = []
    document = read(folder / "market" / f"{name}.yaml")
    _validated(document, Corrections, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return dict(document.value)


def _digest(path: Path, instead: Mapping[Path, str] | None = None) -> str:
    text = (instead or {}).get(path)
    return hashlib.sha256(path.read_bytes() if text is None else text.encode()).hexdigest()


def _digest_of(files: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{digest}  {name}" for name, digest in sorted(files.items())).encode()).hexdigest()


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
