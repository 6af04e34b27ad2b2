"""The morning of a trading day, and its evening: session, instruments, names, warm-up, subscription; then report, record and rest.

All that blocks runs on the downloads thread while the pump keeps the process moving, so that the morning is the same in real and in
granted time.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta

from loguru import logger

from brokers.spec import Session, Spec
from core.errors import BrokerError, ConfigError, DataError
from core.events import SessionStatus
from core.market import Calendar
from core.ports import Feed, InstrumentSource
from core.types import IST, PRACTICE_KINDS, SEGMENTS, Horizon, Instrument, SessionState
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from data_ingestion.recorder import Recorder
from data_ingestion.subscriptions import Subscriptions
from data_ingestion.tape import Recordable, Tape
from execution_engine.portfolio import EXTERNAL
from execution_engine.world import Window
from runtime import evening, opening, rolls
from runtime.lines import Line
from runtime.rebuild import build_runs, waiting
from runtime.wiring import House
from utils import restricted
from utils.config_loader import program_changed, running_build
from utils.config_schema import StrategySettings

KNOWN = ("NSE:NIFTY 50", "NSE:RELIANCE")  # keys whose absence says that a dump is not the real one


class NothingToTrade(ConfigError):
    """No enabled strategy has an instrument today; the text names what there is."""


def can_log_in(house: House) -> None:
    """ConfigError names the secret without which nobody can log in: at the start, and not on the morning on which it is missed."""
    for session in (house.session, *([house.desk.session] if house.desk is not None else [])):
        try:
            session.login_url()
        except ConfigError:
            if session.state() is SessionState.LOGIN_REQUIRED:  # asked only here: it announces what it finds
                raise


def log_in(house: House, login_page: str | None) -> Session | None:
    """Valid sessions, of the orders and of prices from elsewhere: the stored ones, else (simulator) its self-approving page. None when
    all is well, else the one that a person has to log in at."""
    missing = None
    desk = house.desk
    if desk is not None and _renewed(house, desk.session, desk.line, desk.login_page) is SessionState.LOGIN_REQUIRED:
        missing = desk.session
    state = _renewed(house, house.session, house.line, login_page)
    house.engine.process(
        SessionStatus(
            house.clock.now(),
            house.account.name,
            state,
            "start of the day",
            "" if state is SessionState.VALID else house.session.login_url(),
        )
    )
    return house.session if state is SessionState.LOGIN_REQUIRED else missing


def ask_for_login(house: House, missing: Session, told: set[str]) -> None:
    """Say, once each (`told`), where to log in and what nobody watches until then; and, at its deadline, what is not squared off."""
    held = [one for one in house.engine.portfolio.positions() if one.quantity and one.strategy != EXTERNAL]
    if not told:
        told.add("login")
        what = ", ".join(f"{one.quantity} {one.instrument.key} ({one.strategy})" for one in held)
        unwatched = f"; nobody watches what is held: {what}" if held else ""
        house.alerts("page", "Login required", f"{house.account.name}: nothing is traded before it: {missing.login_url()}{unwatched}")
    now, plan = house.clock.now(), house.engine.world.plan
    for one in held:
        due = plan(one.instrument) if one.horizon is Horizon.INTRADAY else None
        if due is not None and now >= due.page_at and (key := f"{one.strategy}|{one.instrument.key}") not in told:
            told.add(key)
            text = f"{one.quantity} {one.instrument.key} ({one.strategy}) is intraday, the deadline is near, and nobody has logged in"
            house.alerts("page", "Not flat", f"{text}; close it at the broker's terminal")


def _renewed(house: House, session: Session, line: Line, login_page: str | None) -> SessionState:
    """The state of a session after what can be done without a person."""
    expires = session.expires_at()
    if login_page is not None and (expires is None or expires <= house.clock.now()):
        if line.claim():
            try:
                waiting(house, lambda: session.auto_login(login_page))
            finally:
                line.release()
        else:
            waiting(house, line.wait)
    elif session.state() is SessionState.LOGIN_REQUIRED:
        with suppress(BrokerError):  # a session that renews itself does so when its token is asked for; else a person is asked
            waiting(house, session.token)
    return session.state()


def load_instruments(house: House, day: date, known: tuple[str, ...]) -> None:
    """Today's snapshots, or older ones with an alert; DataError when there is none at all."""
    desk = house.desk
    listed = _load(house, house.instruments, house.listing, house.spec, day, known)
    house.lookup.set(listed)
    if desk is not None:
        desk.set(listed, _load(house, desk.instruments, desk.source, desk.spec, day, known))


def _load(
    house: House, store: InstrumentStore, source: InstrumentSource, spec: Spec, day: date, known: tuple[str, ...]
) -> InstrumentSnapshot:
    update = waiting(house, lambda: store.update(source, spec, day, house.clock.now(), known=known))
    if not update.accepted:
        text = f"{spec.title}: {update.reason}; yesterday's snapshot ({update.snapshot.day}) stays in use"
        house.alerts("page", "Instrument dump refused", text)
    for alarm in update.drift.alarms:
        house.alerts("warn", "Instruments changed", alarm)
    return update.snapshot


def resolve(house: House, day: date, enabled: Mapping[str, StrategySettings]) -> tuple[dict[str, Instrument], list[str]]:
    """Logical name -> today's contract for all enabled strategies, and a note for each that does not resolve."""
    snapshot = house.instruments.open(day)
    assert snapshot is not None
    pinned: dict[str, str] = house.store.get("names", day.isoformat()) or {}  # a restart must not choose another strike
    names: dict[str, Instrument] = {}
    notes = []

    def price(key: str) -> float:
        index = snapshot.by_key(key)
        found = waiting(house, lambda: house.data.last_prices([index])) if index is not None else {}
        if key not in found:
            raise DataError(f"no price of {key} to choose a strike by")
        return float(found[key])

    for name in sorted({name for one in enabled.values() for name in one.instruments}):
        try:
            instrument = snapshot.by_key(pinned[name]) if name in pinned else None
            instrument = instrument or snapshot.resolve(name, day, price)
            if house.desk is not None:
                house.desk.priced(instrument)
        except (DataError, BrokerError) as error:
            users = ", ".join(one for one, settings in enabled.items() if name in settings.instruments)
            notes.append(f"{error} (wanted by {users})")
            continue
        if not instrument.tradable:
            notes.append(f"{name} is an index and cannot be traded; use its future, e.g. {instrument.underlying}_FUT")
        elif not house.calendar.continuous(instrument, day):
            notes.append(f"{name} ({instrument.key}) has no session on {day}")
        else:
            names[name] = instrument
    house.store.put("names", day.isoformat(), {name: one.key for name, one in names.items()})
    return names, notes


def entry_windows(day: date, enabled: Mapping[str, StrategySettings]) -> dict[str, Window]:
    """Strategy name -> its own entry window today (None: no bound of its own), which the gate applies within the market's."""

    def moment(at: time | None) -> datetime | None:
        return None if at is None else datetime.combine(day, at, IST)

    return {name: (moment(one.window.entry_from), moment(one.window.entry_until)) for name, one in enabled.items()}


def restrict(house: House, day: date) -> None:
    """Take up the lists of restricted securities; while one cannot be read, entries are off."""
    world = house.engine.world
    try:
        lists = restricted.read(house.config.folder / "market" / "restricted", day)
    except ConfigError as error:
        if world.blinded.get("restricted") != str(error):
            world.blinded["restricted"] = str(error)
            house.alerts("page", "Entries are off", f"{error}; correct the list, then `main.py reload`")
        return
    world.blinded.pop("restricted", None)

    def why(instrument: Instrument) -> str | None:
        return next((one.why for one in lists.get(instrument.underlying, ()) if one.covers(instrument)), None)

    world.restricted = why
    if lists:
        house.store.journal(house.clock.now(), "restricted", {symbol: [one.why for one in found] for symbol, found in lists.items()})


def open_day(house: House, day: date, *, resumed: bool, enabled: Mapping[str, StrategySettings]) -> None:
    """Everything from a valid session until the gate opens. Raises NothingToTrade when no strategy has an instrument today."""
    engine = house.engine
    house.arming.take_up(day)
    if house.account.kind not in PRACTICE_KINDS and (changed := program_changed(running_build())):
        house.alerts("page", "The program's files were changed", changed)  # half an update is two programs
    load_instruments(house, day, () if house.account.kind in PRACTICE_KINDS else KNOWN)
    for gone in engine.targets.restore(house.lookup().by_key):
        house.alerts("warn", "Instrument gone", f"{gone} is not in today's instruments; its target is dropped, a position in it is shown")
    rolls.settle(house)  # what expired while nobody was looking
    rolls.choose_days(house, day, {name for one in enabled.values() for name in one.instruments})
    names, notes = resolve(house, day, enabled)
    for note in notes:
        house.alerts("warn", "Instrument not available", note)
    if not names and enabled:  # none enabled: a person has disabled them all, and may enable one while the day runs
        raise NothingToTrade("no enabled strategy has an instrument today: " + "; ".join(notes))
    if resumed:
        evening.find_shares(house, day)
    else:
        evening.missed(house)
        engine.portfolio.start_day(day, evening.closes(house, day))
    engine.desk.open_day(house.store.orders(day), day)
    engine.world.canary = _canary(house, names)
    engine.world.windows = entry_windows(day, enabled)
    restrict(house, day)
    engine.world.open_day(names)  # before the warm-up: strategies over several instruments resolve their names in it
    runs = build_runs(house, day, enabled, names)
    changes = rolls.switches(house, day, names)
    facts = {"config": house.config.hash, "build": running_build(), "resumed": str(resumed)}
    stood_on = opening.take(house, day, resumed=resumed, enabled=enabled, names=names, switches=changes)
    house.recorder.swap(Recorder(house.run.recordings, day, house.account.name, facts, stood_on))
    engine.open_day(day, runs, names, resumed=resumed, switches=changes)
    house.feed = house.make_feed()
    house.subscriptions = Subscriptions(house.feed)
    house.subscriptions.want("strategies", names.values())
    house.subscriptions.want("positions", _held(house))
    house.subscriptions.want("rolls", [one for change in changes.values() for one in (change.today, change.after) if one is not None])
    house.subscriptions.want("canary", [engine.world.canary] if engine.world.canary else [])
    _record_ticks(house, house.feed)
    house.feed.start()
    logger.info("the day is open: {} with {}", day, ", ".join(f"{run.strategy.name} on {'/'.join(run.instruments)}" for run in runs))


def _record_ticks(house: House, feed: Feed) -> None:
    """Put the feed's frames on the day's tape, where the settings want that; trading does not depend on it."""
    mode, settings = house.config.settings.feed.record, house.config.settings.feed
    if mode == "nothing":
        return
    spec = house.spec if house.desk is None else house.desk.spec
    if spec.tape_columns is None or settings.transport != "native" or not isinstance(feed, Recordable):
        house.alerts("warn", "Ticks are not recorded", f"feed.record works with our own socket and not with every broker ({spec.name})")
        return
    try:
        house.tape = Tape(house.run.recordings / "ticks", spec.name, mode, house.lookup().path)
    except OSError as error:
        house.alerts("warn", "Ticks are not recorded", f"the writer does not start: {error}")
        return
    feed.record(house.tape.take)


def end_tape(house: House, *, moving: bool) -> None:
    """Have the day's ticks written out; what could not be recorded is told. `moving`: the pump still moves the process meanwhile."""
    tape, house.tape = house.tape, None
    if tape is None:
        return
    if moving:
        waiting(house, tape.close)
    else:
        tape.close()
    if tape.failure or tape.dropped:
        text = tape.failure or f"{tape.dropped} frames came faster than they were written"
        house.alerts("warn", "Ticks are missing on the tape", text)


def _held(house: House) -> list[Instrument]:
    """What our strategies hold and today's instruments know: a token of yesterday may be another contract's today."""
    held = [position.instrument for position in house.engine.portfolio.positions() if position.quantity and position.strategy != EXTERNAL]
    gone = sorted({one.key for one in held if house.lookup().by_key(one.key) is None})
    if gone:
        house.alerts(
            "page", "No prices of a position", f"{', '.join(gone)}: not in today's instruments, so nothing of it is quoted or sent"
        )
    if house.desk is not None:
        for one in held:
            try:
                house.desk.priced(one)
            except DataError as error:
                gone.append(one.key)
                house.alerts("page", "No prices of a position", str(error))
    return [one for one in held if one.key not in gone]


def _canary(house: House, names: Mapping[str, Instrument]) -> Instrument | None:
    wanted = house.config.settings.feed.canary
    snapshot = house.instruments.open(house.clock.now().date())
    if wanted is not None and snapshot is not None:
        try:
            found = snapshot.resolve(wanted, house.clock.now().date())
            if house.desk is not None:
                house.desk.priced(found)
            return found
        except DataError:
            logger.info("the canary {} is not in today's instruments; any traded instrument serves", wanted)
    return next(iter(names.values()), None)


def ends_at(house: House, day: date) -> datetime:
    """When the last session of what we trade, hold or have orders in closes."""
    world, engine = house.engine.world, house.engine
    traded = [*world.names.values()] or ([world.canary] if world.canary is not None else [])  # no strategy: the market's own hours
    traded += [position.instrument for position in engine.portfolio.positions() if position.quantity and position.strategy != EXTERNAL]
    traded += [order.instrument for order in engine.desk.live()]
    ends = [windows[-1][1] for one in traded if (windows := house.calendar.continuous(one, day))]
    return max(ends, default=datetime.combine(day, time.min, IST))  # none: the day was declared a holiday while it ran


def segments(house: House, enabled: Mapping[str, StrategySettings]) -> tuple[str, ...]:
    """The segments whose sessions make a day of ours: equity and F&O, and those of what strategies name as EXCHANGE:SYMBOL or hold."""
    named = {name.partition(":")[0] for one in enabled.values() for name in one.instruments}
    held = {position.instrument.exchange for position in house.store.positions() if position.quantity and position.strategy != EXTERNAL}
    return ("EQ", "FO", *sorted({SEGMENTS[exchange] for exchange in (named | held) & SEGMENTS.keys()} - {"EQ", "FO"}))


def next_day(calendar: Calendar, day: date, now: datetime, segments: Iterable[str]) -> date:
    """The first day from `day` on whose sessions in these segments are not all over at `now`; ConfigError when a month has none."""
    for late in range(30):
        found = day + timedelta(days=late)
        bounds = calendar.day_bounds(found, [segment for segment in segments if calendar.trading_day(segment, found)])
        if bounds is not None and now < bounds[1]:
            return found
    raise ConfigError(f"no trading day within 30 days of {day}; look at config/market/holidays.yaml and overrides.yaml")


def begins_at(day: date, prepare: time) -> datetime:
    return datetime.combine(day, prepare, IST)


def close_day(house: House, day: date) -> None:
    """The evening: unfilled day orders end, the engine closes its books, the day's record for the report is stored."""
    engine = house.engine
    house.store.put("usage", day.isoformat(), house.usage(day))
    if house.feed is not None:
        house.feed.stop()
    end_tape(house, moving=True)
    now = house.clock.now()
    house.recorder.note(opening.ENDS, now)
    engine.between_events(lambda: house.executor.end_of_day(now))  # heard today: tomorrow nobody knows what was filled of them
    rolls.settle(house)
    house.recorder.note(opening.CLOSES, house.clock.now())
    engine.close_day(day)
    house.recorder.swap(None)
    evening.compare(house, day)
