"""Where a run's time, wire and credentials come from: the wall and the broker, or a simulator that owns time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from loguru import logger

from brokers.spec import Endpoints
from core.clock import GrantedClock, SystemClock
from core.errors import ConfigError
from core.types import PRACTICE_KINDS, Account
from data_ingestion.prepare import Manifest, prepare
from runtime import simulator
from runtime.data_desk import Door
from runtime.grants import GrantChannel, granted_pumps
from runtime.inbox import Inbox, Pump, SystemPump
from runtime.options import RunOptions
from runtime.state_folder import RunFolder
from utils.config_loader import Config, Secrets


@dataclass
class Sources:
    """What a run stands on. `manifest` and `facts` are a simulator's; None and empty with a real broker. `data_door` leads to the broker
    of the prices, where that is another one."""

    clock: SystemClock | GrantedClock
    inbox: Inbox
    pump: Pump
    door: Door
    data_door: Door | None = None
    manifest: Manifest | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def label(sources: Sources, options: RunOptions) -> str:
    """Where this run's prices come from, in words for read-outs."""
    if not sources.facts:
        return "live market"
    if sources.manifest is not None and options.data is not None:
        return f"recorded data, {options.data.name}"
    return "synthetic market: the prices are invented"


def find(
    options: RunOptions, config: Config, accounts: Sequence[tuple[Account, RunFolder]], on_end: Callable[[str], None]
) -> list[Sources]:
    """The sources of these accounts, all of the practice kinds or none: for those one simulator for all is found again or started, and time
    is attached to it."""
    inboxes = [Inbox() for _ in accounts]
    account, folder = accounts[0]
    if account.kind not in PRACTICE_KINDS:
        clock = SystemClock()
        return [
            Sources(clock, inbox, SystemPump(inbox, clock), Door(Secrets(app=one.app)))
            for (one, _), inbox in zip(accounts, inboxes, strict=True)
        ]
    brokers = tuple(dict.fromkeys(name for one, _ in accounts for name in _brokers(one)))
    manifest = _prepared(options, config, account, folder) if options.data is not None else None
    facts = next((known for _, one in accounts if (known := simulator.find(one, options)) is not None), None)
    if facts is not None and options.simulator is None:
        logger.info("going on with a run that did not end, at its own simulator: day, data, seed and speed are those it was started with")
    if facts is None:
        for one in [one for _, one in accounts]:
            for broker in brokers:
                one.token_file(broker).unlink(missing_ok=True)  # a new simulator knows no earlier one's login
        day = manifest.start if manifest is not None else _trading_day(options.date or simulator.DEFAULT_DAY, config, account)
        at = options.start or simulator.DEFAULT_START
        facts = simulator.start(folder, options, brokers, day=day, at=at, data=manifest.folder if manifest is not None else None)
        for _, other in accounts[1:]:
            other.save_simulator(folder.simulator())
    doors = {name: _door(name, facts) for name in brokers}
    granted = GrantedClock()
    pumps = granted_pumps(inboxes, granted, GrantChannel(str(facts["grants"]), account.name), on_end)
    return [
        Sources(granted, inbox, pump, doors[one.lists], doors[_brokers(one)[-1]] if one.prices_elsewhere else None, manifest, facts)
        for (one, _), inbox, pump in zip(accounts, inboxes, pumps, strict=True)
    ]


def _brokers(account: Account) -> tuple[str, ...]:
    """Whom it speaks to: the broker of its orders, and that of its prices where it is another."""
    return (account.lists, str(account.data_broker)) if account.prices_elsewhere else (account.lists,)


def _door(broker: str, facts: Mapping[str, Any]) -> Door:
    """This broker's wire of a simulator; ConfigError where it has none."""
    found = facts["brokers"].get(broker)
    if found is None:
        there = " --beside ".join((*facts["brokers"], broker))
        raise ConfigError(f"the simulator at {facts['admin']} has no wire of {broker}; start one: main.py simulate {there} --granted")
    endpoints = Endpoints(rest=found["rest"], stream=found["stream"], login=found["login"])
    return Door(simulator.SimulatorCredentials(broker, found["credentials"]), endpoints, found["login"])


def _trading_day(day: date, config: Config, account: Account) -> date:
    """`day` itself; raises ConfigError with the next session when the market is closed then."""
    calendar = config.calendar(account.kind)
    if not (calendar.trading_day("EQ", day) or calendar.trading_day("FO", day)):
        raise ConfigError(
            f"{day} is no trading day; the next one is {calendar.next_trading_day(day)}: --date {calendar.next_trading_day(day)}"
        )
    return day


def _prepared(options: RunOptions, config: Config, account: Account, folder: RunFolder) -> Manifest:
    """The user's data, checked and normalised into the run's folder."""
    assert options.data is not None
    return prepare(
        options.data,
        folder.data,
        config.calendar(account.kind),
        symbols=options.symbols,
        repair=options.repair,
        day=options.date,
        days=options.days,
        on_note=lambda text: logger.info("data: {}", text),
    )
