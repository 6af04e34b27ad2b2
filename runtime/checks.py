"""`check`: everything that would stop or endanger a trading day, each finding with its remedy.

A finding is `ok`, a `note` (worth knowing, endangers nothing) or `wrong` (counts for the exit code). Practice accounts trade simulated
days with secrets and instruments of their simulator's, so for them most of it is a note.
"""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError, NiyamError
from core.market import Calendar
from core.ports import Clock, CredentialStore
from core.types import IST, PRACTICE_KINDS, Account, Horizon, Instrument, Kind, SessionState
from runtime import state_folder
from runtime.protection import NO_GUARDS, at_broker, unprotected
from runtime.state_folder import RunFolder
from utils.config_loader import Config, environment, load
from utils.config_loader import config as secrets

NEEDED_DISK = 2 * 1024**3  # bytes: a month of recordings and audit
SKEW = 2.0  # seconds between our clock and the broker's that are still fine
WEEK_AHEAD = 7  # days whose calendar is looked at
PROBE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    status: str
    text: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "text": self.text, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Probes:
    """What is asked of the world outside this machine's files; None stands for "could not be found out"."""

    broker_time: Callable[[str], datetime | None]
    address: Callable[[], str | None]
    free_disk: Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: the account, its configuration, its folder and the moment."""

    config: Config
    account: Account
    folder: RunFolder
    calendar: Calendar
    credentials: CredentialStore
    probes: Probes
    clock: Clock

    @property
    def practice(self) -> bool:
        return self.account.kind in PRACTICE_KINDS

    @property
    def live(self) -> bool:
        return self.account.kind == "live"

    @property
    def today(self) -> date:
        return self.clock.now().astimezone(IST).date()

    @property
    def brokers(self) -> tuple[str, ...]:
        """Whom it logs in at: the broker of its orders, and the one of its prices where that is another."""
        account = self.account
        return (account.lists, str(account.data_broker)) if account.prices_elsewhere else (account.lists,)


def run(
    folder: Path,
    state: Path,
    clock: Clock,
    *,
    account: str | None = None,
    credentials: CredentialStore = secrets,
    probes: Probes | None = None,
) -> dict[str, Any]:
    """All checks for `account` (default: the one in use), as the document of `check --json`; what is wrong is told, never raised."""
    try:
        subject = _subject(folder, state, clock, account, credentials, probes or Probes(_broker_time, _address, _free_disk))
    except ConfigError as error:
        findings = [
            Finding("config", "wrong", line, "correct the file; every start is refused until then") for line in str(error).splitlines()
        ]
    else:
        findings = list(_findings(subject))
    wrong = sum(finding.status == "wrong" for finding in findings)
    return {"ok": not wrong, "wrong": wrong, "checks": [finding.document() for finding in findings]}


def of_all(folder: Path, state: Path, clock: Clock, *, account: str | None = None, probes: Probes | None = None) -> dict[str, Any]:
    """The same for `account`, or for the one in use and those beside it: then each finding has its `account`."""
    try:
        settings = load(folder).settings
    except ConfigError:
        return run(folder, state, clock, account=account, probes=probes)  # told there
    names = [account] if account is not None else [settings.account, *settings.beside]
    results = {name: run(folder, state, clock, account=name, probes=probes) for name in names}
    if len(names) == 1:
        return results[str(names[0])]
    found = [{"account": name, **one, "text": f"{name}: {one['text']}"} for name, result in results.items() for one in result["checks"]]
    wrong = sum(result["wrong"] for result in results.values())
    return {"ok": not wrong, "wrong": wrong, "checks": found}


def _subject(folder: Path, state: Path, clock: Clock, name: str | None, credentials: CredentialStore, probes: Probes) -> Subject:
    from strategies.registry import parse_params

    config = load(folder, check_strategy=parse_params)
    chosen = name or config.settings.account
    if chosen not in config.settings.accounts:
        raise ConfigError(f"--account {chosen!r}: settings.yaml has {', '.join(config.settings.accounts)}")
    account = config.settings.accounts[chosen].account(chosen)
    current = state_folder.current(state)
    own = RunFolder(state / "accounts" / chosen)
    run_folder = current if account.kind in PRACTICE_KINDS and current is not None else own
    return Subject(config, account, run_folder, config.calendar(account.kind), credentials, probes, clock)


def _findings(subject: Subject) -> Iterator[Finding]:
    enabled = [name for name, strategy in subject.config.strategies.items() if strategy.enabled]
    yield Finding(
        "config", "ok" if enabled else "wrong", f"valid; {len(enabled)} strategies enabled", "" if enabled else "enable a strategy"
    )
    simulator = environment("NIYAM_SIMULATOR")
    if simulator:
        text = f"NIYAM_SIMULATOR is set: scripts, `login` and `instruments` speak to the simulator at {simulator}, not to the broker"
        yield Finding("simulator", "note", text, "unset it before a real day")
    for look in (
        _credentials,
        _token,
        _skew,
        _static_ip,
        _rate,
        _disk,
        _days,
        _restricted,
        _cut_offs,
        _expressible,
        _instruments,
        _prices,
        _protection,
        _database,
    ):
        try:
            yield from look(subject)
        except NiyamError as error:
            yield Finding(look.__name__.strip("_").replace("_", " "), "wrong", str(error), "see the message")


def _credentials(subject: Subject) -> Iterator[Finding]:
    if subject.practice:
        yield Finding("credentials", "ok", f"{subject.account.name} uses its simulator's")
        return
    from brokers import registry

    for name in [name for broker in subject.brokers for name in registry.get(broker).secrets]:
        try:
            subject.credentials.get_secret(name)
        except ConfigError as error:
            yield Finding("credentials", "wrong", f"{name} is not set", str(error).rpartition("; ")[2])
        else:
            yield Finding("credentials", "ok", f"{name} is set")


def _token(subject: Subject) -> Iterator[Finding]:
    if subject.practice:
        yield Finding("token", "ok", "the simulator's login approves by itself")
        return
    from brokers import registry

    for broker in subject.brokers:
        spec = registry.get(broker)
        token_file = subject.folder.token_file(broker)
        session = spec.make_session(
            subject.account.name, subject.credentials, subject.clock, token_file, spec.endpoints, lambda event: None
        )
        remedy = f"main.py login {broker} --account {subject.account.name}"
        where = f"{broker}: " if len(subject.brokers) > 1 else ""
        try:
            state, expires = session.state(), session.expires_at()
        except ConfigError:
            yield Finding("token", "wrong", f"{where}no login is possible without the credentials", f"set them, then {remedy}")
            continue
        if state is SessionState.VALID:
            yield Finding("token", "ok", where + (f"valid until {expires:%Y-%m-%d %H:%M}" if expires else "valid"))
        else:
            yield Finding("token", "wrong", f"{where}session {state}", remedy)


def _skew(subject: Subject) -> Iterator[Finding]:
    if subject.practice:
        yield Finding("clock", "ok", "the simulator grants the time")
        return
    from brokers import registry

    theirs = subject.probes.broker_time(registry.get(subject.account.broker).endpoints.rest)
    if theirs is None:
        yield Finding("clock", "wrong", "the broker could not be reached to compare clocks", "check the network, then run check again")
        return
    seconds = (subject.clock.now() - theirs).total_seconds()
    fine = abs(seconds) <= SKEW + 1.0  # an HTTP date has whole seconds
    yield Finding(
        "clock", "ok" if fine else "wrong", f"{seconds:+.1f} s from the broker's", "" if fine else "run an NTP client (timedatectl)"
    )


def _static_ip(subject: Subject) -> Iterator[Finding]:
    """Brokers take API orders only from the address registered with the app. The first one seen is remembered; a change is found."""
    if not subject.live:
        yield Finding("static IP", "ok", "only live orders need one")
        return
    address = subject.probes.address()
    remembered = subject.folder.path / "address"
    if address is None:
        yield Finding("static IP", "wrong", "the outgoing address could not be found out", "check the network, then run check again")
    elif not remembered.exists():
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(address + "\n", encoding="utf-8")
        yield Finding("static IP", "note", f"orders will leave from {address}", "it must be the one registered with your app at the broker")
    elif remembered.read_text(encoding="utf-8").strip() != address:
        old = remembered.read_text(encoding="utf-8").strip()
        yield Finding("static IP", "wrong", f"changed from {old} to {address}", f"register it at the broker, then delete {remembered}")
    else:
        yield Finding("static IP", "ok", address)


def _rate(subject: Subject) -> Iterator[Finding]:
    from brokers import registry

    limits = {limit.name: limit for limit in registry.get(subject.account.broker).limits}
    shown = ", ".join(
        f"{limit.count} {name.partition('/')[0]} {'a day' if limit.seconds >= 86_400 else f'in {limit.seconds:g} s'}"
        for name, limit in limits.items()
    )
    per_day = [limit.count for limit in limits.values() if limit.seconds >= 3600 and "place" in limit.kinds]
    wanted = subject.config.risk.orders_per_day
    if per_day and wanted > min(per_day):
        yield Finding("rate budget", "wrong", f"risk.yaml allows {wanted} orders a day, the broker {min(per_day)}", "lower orders_per_day")
    else:
        yield Finding("rate budget", "ok", shown)


def _disk(subject: Subject) -> Iterator[Finding]:
    folder = next(path for path in (subject.folder.path, *subject.folder.path.resolve().parents) if path.exists())
    free = subject.probes.free_disk(folder)
    text = f"{free / 1024**3:.1f} GB free for {subject.folder.path}"
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "wrong", f"{folder} is not writable", "give the daemon's user the state folder, or another with --state")
    elif free < NEEDED_DISK:
        yield Finding("disk", "wrong", text, f"free {(NEEDED_DISK - free) / 1024**3:.1f} GB; without space no order intent can be stored")
    else:
        yield Finding("disk", "ok", text)


def _days(subject: Subject) -> Iterator[Finding]:
    """The calendar of the week ahead: what is provisional or has a single source."""
    bad = "note" if subject.practice else "wrong"
    used = {instrument.segment for _, instrument in _samples(subject.config, subject.today)} | {"EQ", "FO"}
    unused = re.compile("|".join(rf"\b{segment}\b" for segment in {"CDS", "MCX"} - used) or r"(?!)")
    said: set[str] = set()
    for ahead in range(WEEK_AHEAD):
        day = subject.today + timedelta(days=ahead)
        for note in subject.calendar.notes(day):
            if note not in said and not unused.search(note):
                said.add(note)
                unsure = subject.calendar.status(day) != "confirmed"
                yield Finding("calendar", bad if unsure else "note", note, "compare with the exchange's circular; correct overrides.yaml")
    if not said:
        yield Finding("calendar", "ok", f"{WEEK_AHEAD} days from {subject.today} are confirmed (facts as of {subject.calendar.as_of})")


def _restricted(subject: Subject) -> Iterator[Finding]:
    """The lists of securities in which no position may be opened."""
    from utils import restricted

    try:
        found = restricted.read(subject.config.folder / "market" / "restricted", subject.today)
    except ConfigError as error:
        yield Finding("restricted", "wrong", str(error), "correct the list: entries are off while it cannot be read")
        return
    shown = ", ".join(sorted(found)) or "nothing"
    yield Finding("restricted", "ok", f"no entries today in: {shown}" if found else "no list names a security for today")


def _cut_offs(subject: Subject) -> Iterator[Finding]:
    """When the broker would close our intraday positions, for each kind of instrument the enabled strategies trade."""
    day = subject.today
    while not subject.calendar.trading_day("FO", day):
        day += timedelta(days=1)
    for label, instrument in _samples(subject.config, day):
        cut_off = subject.calendar.cut_off(subject.account.broker, instrument, day)
        plan = subject.calendar.square_off(subject.account.broker, instrument, day, subject.config.square_off)
        starts = f", square-off {plan.start:%H:%M}" if plan else ""
        text = f"{label} on {day}: {f'{cut_off.at:%H:%M}' if cut_off.at else cut_off.status} ({cut_off.status}){starts}"
        if cut_off.status == "unknown":
            bad = "note" if subject.practice else "wrong"
            yield Finding("cut-off", bad, text, "live intraday entries are refused: give it in mis_squareoff of market/overrides.yaml")
        elif cut_off.status in ("confirmed", "none"):
            yield Finding("cut-off", "ok", text)
        else:
            yield Finding("cut-off", "note", text, "compare with the broker's page; correct it in mis_squareoff of market/overrides.yaml")


def _expressible(subject: Subject) -> Iterator[Finding]:
    """What the strategies want that the account's broker has no words for; its orders would be refused before they are sent."""
    from brokers import registry

    spec = registry.get(subject.account.broker)
    objections, notes = set[str](), set[str]()
    for horizon in Horizon:
        samples = _samples(subject.config, subject.today, horizon)
        objections |= {objection for _, instrument in samples if (objection := spec.objection(horizon, instrument))}
        notes |= {note for _, instrument in samples if (note := spec.stands_in(horizon, instrument))}
    for objection in sorted(objections):
        yield Finding("broker", "wrong", objection, "change the strategy, or trade it with another broker's account")
    refused = not subject.config.settings.orders.stand_in
    for note in sorted(notes):
        remedy = "allow it with orders.stand_in: true, or trade it with another broker's account" if refused else "know it before the day"
        yield Finding("broker", "wrong" if refused else "note", note, remedy)
    if not objections:
        yield Finding("broker", "ok", f"{spec.title} can express what the enabled strategies want")


def _samples(config: Config, day: date, horizon: Horizon = Horizon.INTRADAY) -> list[tuple[str, Instrument]]:
    """One stand-in for each kind of instrument with its own cut-off, of those the enabled strategies of this horizon name."""
    names = {
        name for strategy in config.strategies.values() if strategy.enabled and strategy.horizon is horizon for name in strategy.instruments
    }
    found: dict[str, Instrument] = {}
    for name in sorted(names):
        symbol = name.partition(":")[2] or name
        exchange = name.partition(":")[0] if ":" in name else ""
        if exchange in ("MCX", "CDS"):
            found[exchange] = Instrument(name, exchange, symbol, Kind.FUTURE, symbol)
        elif exchange in ("NFO", "BFO") or re.search(r"_FUT|_ATM_|_[CP]E_|\dFUT$|\d[CP]E$", symbol):
            found["F&O"] = Instrument(
                f"NFO:{symbol}", "NFO", symbol, Kind.FUTURE, symbol.partition("_")[0], expiry=day + timedelta(days=30)
            )
        else:
            found["equity with F&O"] = Instrument(f"NSE:{symbol}", "NSE", symbol, Kind.EQUITY, symbol, is_fno=True)
            found["other equity"] = Instrument(f"NSE:{symbol}", "NSE", symbol, Kind.EQUITY, symbol, is_fno=False)
    return list(found.items())


def _instruments(subject: Subject) -> Iterator[Finding]:
    if subject.practice:
        yield Finding("instruments", "ok", "fetched from the simulator at each start")
        return
    from data_ingestion.instruments import InstrumentStore

    for broker in subject.brokers:
        days = InstrumentStore(subject.folder.instruments, subject.calendar, broker).days()
        where, named = (f"{broker}: ", f" --broker {broker}") if len(subject.brokers) > 1 else ("", "")
        if not days:
            remedy = f"main.py instruments update --account {subject.account.name}{named}"
            yield Finding("instruments", "wrong", f"{where}no snapshot is kept yet", remedy)
        elif subject.calendar.trading_day("FO", subject.today) and days[-1] != subject.today:
            text = f"{where}the newest snapshot is of {days[-1]}"
            yield Finding("instruments", "note", text, "the daemon fetches today's at 08:35 and at its start")
        else:
            yield Finding("instruments", "ok", f"{where}snapshot of {days[-1]}")


def _prices(subject: Subject) -> Iterator[Finding]:
    """Prices from another broker: what the strategies name must be the same contract in both lists."""
    account = subject.account
    if not account.prices_elsewhere:
        return
    from brokers import registry
    from data_ingestion.instruments import InstrumentStore
    from data_ingestion.joined import Join

    orders, data = (registry.get(broker) for broker in subject.brokers)
    text = f"from {data.title}, orders at {orders.title}: signals, marks and price checks go by the former's, fills are the latter's"
    yield Finding("prices", "note", text, "log in at both each morning; without prices nothing new is opened")
    lists = [InstrumentStore(subject.folder.instruments, subject.calendar, one.name).open(subject.today) for one in (orders, data)]
    if lists[0] is None or lists[1] is None:
        return  # told above, or fetched at the start
    join, wanted = Join(lists[0], lists[1], data.title), set[str]()
    for settings in subject.config.strategies.values():
        if settings.enabled and settings.account in (None, account.name):
            wanted |= set(settings.instruments)
    for name in sorted(wanted):
        try:
            instrument = lists[0].resolve(name, subject.today)
        except DataError:
            continue  # by its distance from the money, or not listed: the morning tells
        try:
            join.theirs(instrument)
        except DataError as error:
            yield Finding("prices", "wrong", str(error), "trade something else with this account, or give it another data_broker")
        else:
            yield Finding("prices", "ok", f"{name} is {instrument.key} in both lists")


def _overnight(subject: Subject) -> Iterator[Finding]:
    """What stands over the night for strategies that carry."""
    from brokers import registry

    ours = {name: one for name, one in subject.config.strategies.items() if one.enabled and one.account in (None, subject.account.name)}
    carrying = ", ".join(sorted(name for name, one in ours.items() if one.horizon == "carry"))
    spec = registry.get(subject.account.broker)
    if carrying and spec.guards_nights:
        yield Finding("overnight", "ok", f"what {carrying} carries has a trigger at {spec.title} from the close until the next open")
    elif carrying:
        remedy = "give it the horizon intraday, or watch the open; Zerodha is the broker whose triggers (GTT) are used"
        yield Finding("overnight", "note", f"what {carrying} carries has no stop overnight: {NO_GUARDS.format(spec.title)}", remedy)


def _protection(subject: Subject) -> Iterator[Finding]:
    """What `run` refuses to start a live account for."""
    missing = unprotected(subject.config, subject.account)
    for text, remedy in missing:
        yield Finding("protection", "wrong", text, remedy)
    if subject.live and not missing:
        remedy = "know how to close positions at the broker's terminal"
        if at_broker(subject.config, subject.account) is None:
            yield Finding("protection", "note", "the engine holds the stops; they go when it dies", remedy)
        else:
            yield Finding("protection", "ok", "each position has its stop at the broker")
            yield from _overnight(subject)


def _database(subject: Subject) -> Iterator[Finding]:
    url = state_folder.ledger_url(subject.folder, subject.account.kind, subject.config.settings.database.url, subject.credentials)
    if url == subject.folder.ledger_url and not subject.folder.ledger.exists():
        yield Finding("database", "ok", "no ledger yet; the first start makes it")
        return
    from storage.store import open_reader

    try:
        reader = open_reader(url)
        try:
            reader.snapshot()
        finally:
            reader.close()
    except Exception as error:  # whatever the driver says, it is a finding
        message = str(error).splitlines()[0] if str(error) else ""
        yield Finding("database", "wrong", f"{type(error).__name__}: {message}", "restore the ledger, or check database.url")
    else:
        yield Finding("database", "ok", "the ledger opens and reads")


def _broker_time(rest: str) -> datetime | None:
    """The broker's own clock, from the Date header of any reply; no request of ours is authenticated for it."""
    import requests

    try:
        reply = requests.head(rest, timeout=PROBE_TIMEOUT, allow_redirects=False)
        return parsedate_to_datetime(reply.headers["Date"]).astimezone(IST)
    except (requests.RequestException, KeyError, ValueError, TypeError):
        return None


def _address() -> str | None:
    """The public IPv4 address our requests leave from, as a neutral host sees it."""
    import requests

    try:
        found = requests.get("https://checkip.amazonaws.com", timeout=PROBE_TIMEOUT).text.strip()
        socket.inet_aton(found)
    except (requests.RequestException, OSError):
        return None
    return found


def _free_disk(folder: Path) -> int:
    return shutil.disk_usage(folder).free
