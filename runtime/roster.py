"""Which strategies a run trades: the files, what `enable` and `disable` said, the account, and what this run's flags and data allow.

A toggle (`enable NAME`, `disable NAME`) stands above the file's `enabled` and is kept in the ledger, over restarts and days, until
another command says otherwise, or until the file says something else than it said then: the last word counts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from core.errors import ConfigError
from core.types import Horizon
from execution_engine.engine import Engine
from utils.config_schema import INTERVALS, StrategySettings

if TYPE_CHECKING:
    from data_ingestion.prepare import Manifest
    from runtime.options import RunOptions
    from runtime.wiring import House

Files = Mapping[str, StrategySettings]
Toggles = Mapping[str, Mapping[str, Any]]
SPACE = "toggles"
_SPELLED = {minutes: text for text, minutes in INTERVALS.items()}


class Plan(msgspec.Struct):
    """A change of the strategies' files or toggles that is to be done. `facts` is what the journal says of it, by strategy."""

    files: Files
    toggles: Toggles
    before: dict[str, StrategySettings]
    after: dict[str, StrategySettings]
    made: tuple[str, ...]  # strategies to be made, anew or at all
    retired: tuple[str, ...]
    facts: dict[str, dict[str, Any]]


class Roster:
    """Owned by the engine thread; `rows` is what read-outs show."""

    def __init__(self, house: "House", options: "RunOptions", manifest: "Manifest | None", *, leads: bool = True) -> None:
        """`leads`: strategies that name no account are this one's."""
        self._house = house
        self._leads = leads
        self._options = options
        self._manifest = manifest
        self._told: set[str] = set()
        self.files: Files = house.config.strategies
        self.toggles: Toggles = standing(house.store.items(SPACE), self.files)

    def enabled(self, files: Files | None = None, toggles: Toggles | None = None) -> dict[str, StrategySettings]:
        """The strategies that trade, `--instrument` applied; what does not fit the played data is left out, with an alert."""
        files = self.files if files is None else files
        toggles = self.toggles if toggles is None else toggles
        found = {}
        for name, settings in files.items():
            if not self.ours(settings) or not is_on(name, settings, toggles):
                continue
            if self._unfit(name, settings):
                continue
            wanted = self._options.instrument
            if wanted is not None:
                wanted = wanted if self._manifest is None else self._manifest.names.get(wanted, wanted)
                settings = settings.model_copy(update={"instruments": (wanted,)})
            found[name] = settings
        return found

    def _unfit(self, name: str, settings: StrategySettings) -> bool:
        """Whether its bars cannot be made from the data that is played; told once."""
        spacing = self._manifest.interval_s if self._manifest is not None else None
        if not spacing or not (settings.interval * 60) % spacing:
            return False
        if name not in self._told:
            self._told.add(name)
            text = f"{name} wants {settings.interval}-minute bars, the data has bars of {spacing} s; it is off for this run"
            self._house.alerts("warn", "Strategy disabled", text)
        return True

    def ours(self, settings: StrategySettings) -> bool:
        """Whether it belongs to the account of this run."""
        return settings.account == self._house.account.name or (settings.account is None and self._leads)

    def of_the_start(self) -> dict[str, StrategySettings]:
        """The same at the start of a run; raises ConfigError where no file is enabled, or none fits the data."""
        found = self.enabled()
        on = [name for name, one in self.files.items() if self.ours(one) and is_on(name, one, self.toggles)]
        if not on and not self.toggles:
            raise ConfigError(
                f"no enabled strategy of account {self._house.account.name!r} in {self._options.config / 'strategies'}; enable one"
            )
        if on and not found:
            raise ConfigError("no enabled strategy's interval is a multiple of this data's spacing; give one with --strategy")
        return found

    def rows(self, engine: Engine) -> list[dict[str, Any]]:
        """Every strategy of this account: what its file says, whether it runs and why not, what it holds."""
        now = engine.clock.now()
        locks, running = engine.gate.locks(now.date()), engine.timers.due("second") is not None
        held: dict[str, dict[str, int]] = {}
        for position in engine.portfolio.positions():
            if position.quantity:
                keys = held.setdefault(position.strategy, {})
                keys[position.instrument.key] = keys.get(position.instrument.key, 0) + position.quantity
        rows = []
        for name in sorted({*self.files, *(run.strategy.name for run in engine.runs)}):
            settings = self.files.get(name)
            if settings is None or not self.ours(settings):
                continue
            runs = [run for run in engine.runs if run.strategy.name == name]
            stopped = "; ".join(run.stopped for run in runs if run.stopped)
            state, why = "running", ""
            if not is_on(name, settings, self.toggles):
                state, why = "disabled", "by command" if name in self.toggles else "enabled: false in its file"
            elif runs and all(run.stopped for run in runs):
                state, why = "stopped", stopped
            elif locks.get(name) or locks.get(""):
                state, why = "locked", locks.get(name) or locks[""]
            elif not runs:
                state, why = ("left out", "see the alerts of the day") if running else ("waiting", "for the day to open")
            elif stopped:
                why = stopped
            instruments = {logical: one.key for run in runs for logical, one in run.instruments.items()}
            rows.append(
                {
                    "name": name,
                    **described(settings),
                    "enabled": is_on(name, settings, self.toggles),
                    "instruments": instruments or dict.fromkeys(settings.instruments),
                    "state": state,
                    "why": why,
                    "position": held.get(name, {}),
                    "pnl": engine.portfolio.net_result(name) / 100,
                    "trades": engine.portfolio.trades.begun(name, now.date()),
                }
            )
        return rows


def is_on(name: str, settings: StrategySettings, toggles: Toggles) -> bool:
    """Whether it is to run: the toggle's word, else the file's."""
    toggle = toggles.get(name)
    return settings.enabled if toggle is None else bool(toggle["enabled"])


def standing(toggles: Toggles, files: Files) -> dict[str, Mapping[str, Any]]:
    """The toggles that these files have not overruled: `enabled` stands there as it stood when the toggle was given."""
    return {name: one for name, one in toggles.items() if name in files and files[name].enabled is one["file"]}


def described(settings: StrategySettings) -> dict[str, Any]:
    """A strategy's settings in the words of its file, JSON-able; what is not given there is null or its default."""
    given: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    given["interval"] = _SPELLED.get(settings.interval, f"{settings.interval}m")
    given["horizon"] = str(Horizon(settings.horizon))
    given["window"] = {name: at and at[:5] for name, at in given["window"].items()}
    given["size"] = {name: value for name, value in given["size"].items() if value is not None}
    return given


def differences(old: StrategySettings, new: StrategySettings) -> dict[str, dict[str, Any]]:
    """Field (dotted, as in the file) -> {old, new} for each that differs."""
    before, after = _flat(described(old)), _flat(described(new))
    names = [*before, *(name for name in after if name not in before)]
    return {name: {"old": before.get(name), "new": after.get(name)} for name in names if before.get(name) != after.get(name)}


def _flat(given: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found
