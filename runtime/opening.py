"""What the engine stands on when a day opens, for the recording: with it and the events, `replay` takes every decision again.

Everything that reaches the engine comes as an event, or is here, or in a note: the end of the day's trading, final prices of expired
contracts, and changes of files, fields and toggles (with the strategies' history, as they heard it).
"""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.types import Account, Bar, Fill, Instrument, Order, Position, Tick
from execution_engine.rollover import Switch
from runtime.recording import WarmedUp
from runtime.roster import Plan, described
from utils.config_schema import StrategySettings

if TYPE_CHECKING:
    from runtime.wiring import House

ENDS, CLOSES, CHANGE, BLOCKED = "ends", "closes", "change", "blocked"
SPACES = ("targets", "strategy", "rolls", "engine", "square_off", "toggles")


class Past(msgspec.Struct, frozen=True):
    """What one strategy object was told before its first event: bars as (place of its instrument, the rest), and what it had stored."""

    strategy: str
    logical: str | None
    instruments: tuple[Instrument, ...]
    bars: tuple[tuple[int, datetime, datetime, int, float, float, float, float, int, int, bool, bool], ...]
    saved: dict[str, Any] | None

    @property
    def history(self) -> list[Bar]:
        return [Bar(self.instruments[place], *rest) for place, *rest in self.bars]  # type: ignore[arg-type]  # as msgspec read it


class Opening(msgspec.Struct, frozen=True):
    """The engine's whole state before `open_day`. `journal` and `fills` are how far the ledger was: entry number, count of fills."""

    at: datetime
    day: date
    account: Account
    resumed: bool
    config: dict[str, str]  # every file of the configuration
    strategies: dict[str, dict[str, Any]]  # those that trade, in the words of their files
    names: dict[str, Instrument]
    switches: dict[str, Switch]
    canary: Instrument | None
    pasts: tuple[Past, ...]
    orders: tuple[Order, ...]
    positions: tuple[Position, ...]
    fills: tuple[Fill, ...]  # of the day, before this start
    spaces: dict[str, dict[str, Any]]
    targets: tuple[Instrument, ...]  # what they are in
    gate: dict[str, Any]
    state: str
    session: str
    feed: tuple[bool, str]
    blinded: dict[str, str]
    frozen: dict[str, str]
    frozen_by_books: dict[str, str]
    funds: float | None
    ticks: tuple[Tick, ...]
    timers: dict[str, datetime]
    tags: dict[str, Any]
    calls: int  # into strategies, so far
    data: str
    journal: int
    fills_before: int


class Change(msgspec.Struct, frozen=True):
    """A change of files, fields or toggles that was carried out between two events; `config` is empty where no file was read."""

    config: dict[str, str]
    files: dict[str, dict[str, Any]]
    toggles: dict[str, dict[str, Any]]
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]
    made: tuple[str, ...]
    retired: tuple[str, ...]
    facts: tuple[str, ...]
    names: dict[str, Instrument]
    pasts: tuple[Past, ...]


def take(
    house: "House",
    day: date,
    *,
    resumed: bool,
    enabled: Mapping[str, StrategySettings],
    names: Mapping[str, Instrument],
    switches: Mapping[str, Switch],
) -> Opening:
    """The state of this moment: everything is restored and resolved, and the engine has not opened the day yet."""
    engine, store = house.engine, house.store
    world, desk, now = engine.world, engine.desk, engine.clock.now()
    fills, changed = store.fills(), engine.gate.changed
    gate = engine.gate.state()
    if changed:
        store.put("engine", "gate", gate)  # asking for it said that it is stored
    spaces = {name: store.items(name) for name in SPACES}
    spaces["square_off"] = {key: value for key, value in spaces["square_off"].items() if key.startswith(day.isoformat())}
    return Opening(
        at=now,
        day=day,
        account=house.account,
        resumed=resumed,
        config=files_of(house.config.folder),
        strategies=_described(enabled),
        names=dict(names),
        switches=dict(switches),
        canary=world.canary,
        pasts=_pasts(house.recorder.take_warmed()),
        orders=tuple(desk.all()),
        positions=tuple(engine.portfolio.positions()),
        fills=tuple(fill for fill in fills if fill.at.date() == day),
        spaces=spaces,
        targets=tuple({target.instrument.key: target.instrument for target in engine.targets}.values()),
        gate=gate,
        state=str(world.state),
        session=str(world.session),
        feed=(world.feed_connected, world.feed_reason),
        blinded=dict(world.blinded),
        frozen=dict(desk.frozen),
        frozen_by_books=dict(world.frozen_by_books),
        funds=world.broker_funds,
        ticks=tuple(world.ticks.values()),
        timers=engine.timers.pending(),
        tags={"ledger": store.get("tags", "ledger"), "count": desk.tags.count},
        calls=engine.hearing.calls.count if engine.hearing.calls is not None else 0,
        data=world.data,
        journal=store.journal(now, "recorded", {"day": day.isoformat(), "resumed": resumed}),
        fills_before=len(fills),
    )


def change(house: "House", plan: Plan, names: Mapping[str, Instrument], files: Path | None) -> Change:
    """What is about to be carried out."""
    return Change(
        config=files_of(files) if files is not None else {},
        files=_described(plan.files),
        toggles={name: dict(one) for name, one in plan.toggles.items()},
        before=_described(plan.before),
        after=_described(plan.after),
        made=plan.made,
        retired=plan.retired,
        facts=tuple(plan.facts),
        names=dict(names),
        pasts=_pasts(house.recorder.take_warmed()),
    )


def files_of(folder: Path) -> dict[str, str]:
    """Every file of the configuration that decides anything, by its path below the folder. Secrets are in none of them."""
    paths = [*folder.rglob("*.yaml"), *(folder / "market" / "restricted").glob("*.csv")]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8-sig") for path in sorted(paths)}


def _described(settings: Mapping[str, StrategySettings]) -> dict[str, dict[str, Any]]:
    return {name: described(one) for name, one in settings.items()}


def _pasts(warmed: list[WarmedUp]) -> tuple[Past, ...]:
    return tuple(_past(one) for one in warmed)


def _past(one: WarmedUp) -> Past:
    places = {instrument.key: place for place, instrument in enumerate(one.run.instruments.values())}
    instruments = list(one.run.instruments.values())
    bars = []
    for bar in one.history:
        if bar.instrument.key not in places:
            places[bar.instrument.key] = len(instruments)
            instruments.append(bar.instrument)
        prices = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.oi, bar.gap, bar.warmup)
        bars.append((places[bar.instrument.key], bar.start, bar.at, bar.interval, *prices))
    strategy = one.run.strategy
    return Past(strategy.name, strategy.logical, tuple(instruments), tuple(bars), None if one.saved is None else dict(one.saved))
