"""One order of a bare script: handed to the daemon that runs on the state folder, else placed by a house wired for this one order.

The house is the daemon's own (same wiring, ledger, lock, budget and gate), on a paper account unless `live` is asked for. With
NIYAM_SIMULATOR it trades the practice accounts at that free-running simulator, by the simulator's time. What it leaves open nobody
watches until a daemon runs: an intraday position is then the broker's to square off.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loguru import logger

from core.clock import SystemClock
from core.errors import ConfigError, NiyamError
from core.events import Command
from core.types import Account, AccountKind, OrderState
from data_ingestion.bare_session import log_in_at_simulator
from execution_engine.control import Control
from execution_engine.manual_orders import result
from execution_engine.portfolio import EXTERNAL
from runtime import day as trading_day
from runtime import notifier, recovery, state_folder, venue
from runtime.inbox import Inbox, SystemPump
from runtime.protection import refuse_unprotected
from runtime.state_folder import Lock, RunFolder
from runtime.venue import Venue
from runtime.wiring import House, build
from utils import config_loader, control
from utils.config_loader import Config, Secrets, environment

PATIENCE_S = 60.0  # wall seconds until an outcome must be known
BOOKS_S = 15.0  # of them, until the broker's books must have been read; without them the gate refuses, and says so
_KINDS = {  # (at a simulator, live)
    (False, False): AccountKind.PAPER,
    (False, True): AccountKind.LIVE,
    (True, False): AccountKind.PRACTICE,
    (True, True): AccountKind.PRACTICE_LIVE,
}


_TRADING = frozenset({AccountKind.LIVE, AccountKind.PRACTICE_LIVE})


def place(given: Mapping[str, Any], *, config: Path | None = None, state: Path | None = None) -> dict[str, Any]:
    """Place one order and say what came of it (execution_engine.manual_orders.result); never raises for what a person can mend.

    `given`: broker, symbol, direction, quantity or lots, price, order_type, product_type, live; `account` where that leaves a doubt.
    """
    state = state or Path(environment("NIYAM_STATE", "var"))
    with ExitStack() as held:
        try:
            held.enter_context(Lock(state))
        except NiyamError as busy:
            return _forwarded(state, given, busy)
        try:
            return _alone(config or config_loader.CONFIG_FOLDER, state, given)
        except NiyamError as error:  # all of this is raised before anything could be sent
            return result("REJECTED", error=str(error))


def _forwarded(state: Path, given: Mapping[str, Any], busy: NiyamError) -> dict[str, Any]:
    try:
        folder = _whose(state, given)
    except NiyamError as error:
        return result("REJECTED", error=str(error))
    if folder is None:
        return result("REJECTED", error=str(busy))
    try:
        order = {name: value for name, value in given.items() if name != "account"}
        answer = control.ask(folder.control_socket, "order", order, timeout=PATIENCE_S * 2)
    except control.Unanswered as error:
        return result("UNKNOWN", error=str(error))
    except control.DaemonDown:
        return result("REJECTED", error=f"{busy}; it does not answer (it is starting or ending, or is another script): try again")
    except NiyamError as error:
        return result("UNKNOWN", error=str(error))
    return dict(answer.data) if isinstance(answer.data, Mapping) else result("REJECTED", error=answer.text)


def _whose(state: Path, given: Mapping[str, Any]) -> RunFolder | None:
    """The run of the account this order is for: of several in one daemon the one at its broker, and that trades if `live` is said."""
    folders, wanted = state_folder.currents(state), given.get("account")
    if wanted is not None:
        named = [folder for folder in folders if folder.about().get("account") == wanted]
        if not named:
            there = ", ".join(str(folder.about().get("account")) for folder in folders)
            raise NiyamError(f"the running daemon has no account {wanted!r}; there is {there or 'none'}")
        folders = named
    if len(folders) < 2 and wanted is None:
        return next(iter(folders), None)
    told = {}
    for folder in folders:
        try:
            told[folder] = control.ask(folder.control_socket, "status", timeout=PATIENCE_S).data or {}
        except control.DaemonDown:
            continue  # this one went down
    fitting = [folder for folder, status in told.items() if status.get("broker") == given["broker"]]
    trading = [folder for folder in fitting if (told[folder].get("kind") in _TRADING) is bool(given.get("live"))]
    if not fitting:
        there = ", ".join(f"{status.get('account')} at {status.get('broker')}" for status in told.values())
        raise NiyamError(f"the running daemon has no account at {given['broker']}; there is {there or 'none that answers'}")
    return (trading or fitting)[0]


def _alone(config_folder: Path, state: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    config = config_loader.load(config_folder)
    here = venue.find(str(given["broker"]))
    account = _account(config, here, _KINDS[bool(here.simulator), bool(given.get("live"))], given.get("account"))
    refuse_unprotected(config, account)
    answers: list[dict[str, Any]] = []
    with _house(config, account, state, here, answers) as (house, commands):
        _open(house, str(given.get("symbol")), here.login_page)
        engine, asked = house.engine, False
        begun = house.clock.monotonic()
        while True:
            engine.settle()
            commands.check(engine)
            now = house.clock.monotonic()
            if not asked and ("recovery" not in engine.world.blinded or now >= begun + BOOKS_S):
                asked = True
                engine.process(Command(house.clock.now(), "script", "order", dict(given)))
                continue
            if answers or now >= begun + PATIENCE_S:
                break
            for event in house.pump.next(engine.wake_at()):
                engine.process(event)
            engine.run_timers()
        engine.settle()
        if any(order.state is OrderState.FILLED for order in engine.desk.all()) and not engine.flat:
            logger.warning("no daemon runs on {}: nobody squares off what this account holds but the broker; start `main.py run`", state)
    return answers[0] if answers else result("UNKNOWN", error=f"no outcome within {PATIENCE_S:.0f} s; look at `main.py orders`")


def _account(config: Config, here: Venue, kind: AccountKind, wanted: str | None = None) -> Account:
    """The one that is `wanted`, else the account in use if it is of this kind, else the only one of it."""
    named = {name: here.its(one.account(name)) for name, one in config.settings.accounts.items() if one.kind is kind}
    fitting = {name: account for name, account in named.items() if account is not None}
    if wanted is not None and wanted not in fitting:
        there = ", ".join(fitting) or "none"
        raise ConfigError(f"{wanted!r} is no account of kind {kind} at {here.spec.name}; there is {there}")
    if wanted is not None:
        return fitting[wanted]
    if config.settings.account in fitting:
        return fitting[config.settings.account]
    if len(fitting) != 1:
        there = f"there are {', '.join(fitting)}: name one as `account`" if fitting else "add one to settings.yaml"
        raise ConfigError(f"no single account of kind {kind} at {here.spec.name} to place this order with; {there}")
    return next(iter(fitting.values()))


@contextmanager
def _house(config: Config, account: Account, state: Path, here: Venue, answers: list[dict[str, Any]]) -> Iterator[tuple[House, Control]]:
    """The wired house with its workers running; everything is closed behind it."""
    wall = SystemClock()
    if here.simulator:
        run = state_folder.simulated(state, account.name, account.kind, here.simulator, wall.now())
    else:
        run, _ = state_folder.enter(state, account.name, account.kind, wall.now())
        for broker in {account.lists, account.data_broker or account.lists}:
            _borrow_login(state, run, broker)
    inbox = Inbox()
    telling = notifier.from_settings(config.settings.alerts, Secrets(), account.name)
    house, commands = build(
        account=account,
        config=config,
        run=run,
        clock=here.clock,
        inbox=inbox,
        pump=SystemPump(inbox, here.clock),
        credentials=here.credentials_of(account),
        endpoints=here.endpoints,
        ledger_url=state_folder.ledger_url(run, account.kind, config.settings.database.url, Secrets()),
        notifier=telling,
        answer=lambda identity, ok, text, data: answers.append(dict(data)),
    )
    telling.start()
    house.downloads.start()
    if house.broker_worker is not None:
        house.broker_worker.start()
    try:
        yield house, commands
    finally:
        if house.feed is not None:
            house.feed.stop()
        house.downloads.stop()
        if house.broker_worker is not None:
            house.broker_worker.stop()
        run.finish(wall.now())
        house.store.close()
        house.emergency.close()
        house.audit.close()
        telling.stop()


def _open(house: House, symbol: str, login_page: str | None) -> None:
    """Recover, log in, load the day's instruments and connect, as the daemon's morning does, for one instrument and no strategy."""
    engine, day = house.engine, house.clock.now().date()
    resumed = recovery.from_ledger(house, day)
    if login_page is not None:
        # anew: another script's login at the simulator may have ended the stored one
        log_in_at_simulator(house.session.auto_login, login_page, house.clock)
    if (missing := trading_day.log_in(house, login_page)) is not None:
        broker = house.spec.name if missing is house.session or house.desk is None else house.desk.spec.name
        raise ConfigError(f"{house.account.name}: no valid session; log in first with `main.py login {broker}`")
    trading_day.load_instruments(house, day, () if login_page else trading_day.KNOWN)
    engine.targets.restore(house.lookup().by_key)
    instrument = house.resolve(symbol)
    if not resumed:
        engine.portfolio.start_day(day)
    engine.desk.open_day(house.store.orders(day), day)
    engine.world.canary = instrument
    engine.open_day(day, [], {}, resumed=resumed)
    held = [position.instrument for position in engine.portfolio.positions() if position.quantity and position.strategy != EXTERNAL]
    house.feed = house.make_feed()
    house.feed.subscribe([instrument, *held])
    house.feed.start()


def _borrow_login(state: Path, run: RunFolder, broker: str) -> None:
    """The day's login of bare scripts (`python utils/zerodha_auth.py`) serves an account that has none of its own, or an older one."""
    script, own = state / "session" / f"{broker}.json", run.token_file(broker)
    if script.exists() and (not own.exists() or own.stat().st_mtime < script.stat().st_mtime):
        own.touch(mode=0o600)
        own.write_bytes(script.read_bytes())
