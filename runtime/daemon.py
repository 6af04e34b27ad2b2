"""The daemon: the process around its accounts. Each account has its engine on a thread of its own; signals, web process and simulator
are the process's."""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from loguru import logger
from sdnotify import SystemdNotifier

from core.clock import SystemClock
from core.errors import ConfigError, NiyamError
from core.types import PRACTICE_KINDS, Account, AccountKind
from runtime import simulator, sources, state_folder
from runtime.account_run import AccountRun, Entered, load
from runtime.lines import Lines
from runtime.options import RunOptions
from runtime.protection import refuse_unprotected
from runtime.state_folder import Lock, RunFolder
from runtime.web_child import WebChild
from runtime.wiring import account_of
from utils.config_loader import Config
from utils.logging_setup import setup as setup_logging

if TYPE_CHECKING:
    from runtime.screen import Screen


def run(options: RunOptions) -> int:
    """The `run` command: exit 0 when it ended by itself or was asked to, 1 when something is wrong."""
    config = load(options)
    accounts = _chosen(options, config)
    practice = accounts[0].kind in PRACTICE_KINDS
    with Lock(options.state):
        shown, entered = state_folder.currents(options.state), list[Entered]()
        try:
            for account in accounts:
                entered.append(_enter(options, account))
            folders = [one.folder for one in entered]
            state_folder.show(options.state, folders)
            if practice and not any(one.continues for one in entered):
                simulator.end_others(options.state, folders)
            _log(config, folders[0], None, screen=sys.stdout.isatty())
            for one in entered:
                logger.info(
                    "Niyam: account {} ({}), state {}, config {}", one.account.name, one.account.kind, one.folder.path, config.hash[:12]
                )
            daemon = Daemon(options, config, entered)
            daemon.log(screen=sys.stdout.isatty())
            return daemon.main()
        except NiyamError:
            _give_back(options.state, [one.folder for one in entered if not one.continues], shown)
            raise


def _give_back(state: Path, fresh: Sequence[RunFolder], shown: Sequence[RunFolder]) -> None:
    """Runs that were refused before a day opened: the next run starts afresh, and read-outs show what they showed before."""
    refused = [folder for folder in fresh if not folder.began]
    for folder in refused:
        simulator.end(folder)
        folder.refuse(SystemClock().now())
    if refused:
        state_folder.show(state, shown)


def _chosen(options: RunOptions, config: Config) -> list[Account]:
    """The accounts of this run, the one in use first; raises ConfigError for what cannot be traded by one process."""
    settings = config.settings
    beside = options.beside if options.account is not None else settings.beside
    names = [options.account or settings.account, *beside]
    accounts = [account_of(config, name, options.broker) for name in names]
    for account in accounts:
        refuse_unprotected(config, account)
    first = accounts[0]
    practice = first.kind in PRACTICE_KINDS
    if not practice and (options.data or options.simulator or options.speed or options.date or options.start):
        raise ConfigError(f"--data, --simulator, --speed, --date and --start are for practice accounts; {first.name!r} is {first.kind}")
    if practice and settings.feed.transport == "kiteticker" and options.speed != 1:
        raise ConfigError("feed.transport: kiteticker keeps its own time: a practice run with it wants --speed 1 (and promises no digest)")
    if len(accounts) > 1:
        _judge(accounts, options, config)
    return accounts


def _judge(accounts: Sequence[Account], options: RunOptions, config: Config) -> None:
    """Whether these accounts can be traded side by side; ConfigError says why not."""
    names = [account.name for account in accounts]
    if len(set(names)) < len(names):
        raise ConfigError(f"an account is named twice: {', '.join(names)}")
    if options.broker is not None:
        raise ConfigError("--broker is for a run of one account; of several each is at the broker that settings.yaml names")
    if len({account.kind in PRACTICE_KINDS for account in accounts}) > 1:
        kinds = ", ".join(f"{account.name} is {account.kind}" for account in accounts)
        raise ConfigError(f"simulated and real accounts have no time in common: {kinds}; run them on two state folders")
    trading = [account for account in accounts if account.kind in (AccountKind.LIVE, AccountKind.PRACTICE_LIVE)]
    for place, account in enumerate(trading):
        twin = next((one for one in trading[:place] if (one.broker, one.app) == (account.broker, account.app)), None)
        if twin is not None:
            where = "give each its `app`" if account.kind is AccountKind.LIVE else "a simulator has one client"
            raise ConfigError(f"{twin.name} and {account.name} are one account at {account.broker}: {where}")
    url = config.settings.database.url
    if accounts[0].kind not in PRACTICE_KINDS and url != "sqlite" and "{account}" not in url:
        raise ConfigError(f"database.url: {url} is one ledger for {len(accounts)} accounts; put {{account}} in it, or use sqlite")
    for account in accounts[1:]:
        if not any(one.enabled and one.account == account.name for one in config.strategies.values()):
            raise ConfigError(f"no enabled strategy names the account {account.name!r}: write `account: {account.name}` in its file")


def _enter(options: RunOptions, account: Account) -> Entered:
    """The folder of this account's run: a new one, or that of a run that died and can be gone on with."""
    now = SystemClock().now
    folder, continues = state_folder.enter(options.state, account.name, account.kind, now(), resume=options.resume)
    if account.kind in PRACTICE_KINDS and continues and folder.about().get("day_open") and simulator.find(folder, options) is None:
        if options.resume:
            day = folder.about()["day_open"]
            text = f"run {folder.id} stopped within {day}, and the simulator that held its broker's books is gone: it cannot go on"
            raise NiyamError(f"{text}; start a fresh run without --resume")
        folder.finish(now())
        folder, continues = state_folder.enter(options.state, account.name, account.kind, now())
    return Entered(account, folder, continues)


def _log(config: Config, folder: RunFolder, market_time: Callable[[], datetime] | None, *, screen: bool) -> None:
    """Log to the run's folder, and to standard error where no live screen speaks; `market_time` is a simulated day's own clock."""
    log = config.settings.log
    setup_logging(level=log.level, file=folder.log / "niyam.jsonl", keep_days=log.keep_days, human=not screen, market_time=market_time)


class Daemon:
    """The process of one run. The log, the web process and the terminal's screen are those of the first account, the one in use."""

    def __init__(self, options: RunOptions, config: Config, entered: Sequence[Entered]) -> None:
        self._stopping = ""
        self._systemd = SystemdNotifier()
        found = sources.find(options, config, [(one.account, one.folder) for one in entered], self._on_end)
        lines = Lines() if len(entered) > 1 else None
        self._runs = [
            AccountRun(options, config, one, its, leads=place == 0, lines=lines)
            for place, (one, its) in enumerate(zip(entered, found, strict=True))
        ]
        self._config, self._folder = config, entered[0].folder
        self._practice = entered[0].account.kind in PRACTICE_KINDS
        self._web = WebChild(options.config, options.state, entered[0].folder.log) if options.api else None
        self._screen = self._make_screen() if sys.stdout.isatty() else None
        for each in self._runs:
            each.before_last_words = self._stop_screen
            each.notify = self._systemd.notify
            each.others = self._others_of(each)

    def now(self) -> datetime:
        """The market's time of this run."""
        return self._runs[0].now()

    def log(self, *, screen: bool) -> None:
        """Where the log goes from here on; `screen`: the terminal is the live screen's."""
        _log(self._config, self._folder, self.now if self._practice else None, screen=screen)

    def main(self) -> int:
        """Trade every account until its end; 1 when one of several went down."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        if self._web is not None:
            self._web.start()
        if self._screen is not None:
            self._screen.start()
        try:
            if len(self._runs) == 1:
                self._runs[0].main()
            else:
                self._side_by_side()
        finally:
            self._systemd.notify("STOPPING=1")
            self._stop_screen()
            if self._web is not None:
                self._web.stop()
            if not any(each.resumable for each in self._runs):
                for each in self._runs:
                    simulator.end(each.folder)
        return 1 if any(each.failed for each in self._runs) else 0

    def _side_by_side(self) -> None:
        """A thread for each account: what befalls one is told, and is no other's."""

        def trade(each: AccountRun) -> None:
            with logger.contextualize(account=each.account.name):
                try:
                    each.main()
                except Exception as error:  # the account's own end is typed and told; the process is the other accounts' too
                    each.fail(error)

        threads = [threading.Thread(target=trade, args=(each,), name=f"engine/{each.account.name}", daemon=True) for each in self._runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _others_of(self, mine: AccountRun) -> Callable[[], list[dict[str, object]]]:
        return lambda: [row for each in self._runs if each is not mine and (row := each.row) is not None]

    def _on_end(self, reason: str) -> None:
        for each in self._runs:
            each.end(f"the simulated market has no more days ({reason})")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = signal.Signals(number).name
        for each in self._runs:
            each.end(self._stopping)
        for each in self._runs:
            threading.Thread(target=each.poke, daemon=True).start()  # never from inside the handler: it may hold the lock

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        logger.info("SIGHUP: reading the files")
        for each in self._runs:
            threading.Thread(target=each.reread, name="reload", daemon=True).start()

    def _make_screen(self) -> "Screen":
        from runtime.screen import Screen  # rich, where there is a terminal alone

        web = self._web
        return Screen(lambda: self._runs[0].snapshot, page=lambda: web.address if web is not None else "")

    def _stop_screen(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.stop()
            self.log(screen=False)  # the last words are for the terminal
