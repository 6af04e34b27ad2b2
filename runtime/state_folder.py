"""The state folder: where each run keeps what must outlive the process, which run is current, and the lock that admits one daemon.

STATE/lock                    held (flock) by the one daemon of this state folder
STATE/current                 text: the run that read-outs show, relative to STATE; of several accounts side by side a line each
STATE/runs/ID/                one practice run each
STATE/accounts/NAME/          a paper or live account, for ever
STATE/simulated/ACCOUNT-PORT/ scripts that trade at one free-running simulator (NIYAM_SIMULATOR)
inside each: run.json ledger.sqlite emergency.journal emergency.reserve control.sock simulator.json
             audit/ instruments/ recordings/ session/ data/ log/

What belongs to no run: candles/ (data_ingestion/candle_store.py), backtests/ and sweeps/ (prepared data, results), session/ (of bare
scripts), and of the web process accounts.sqlite, vault.key, apps/, reports/, backtest-data/, log/web.jsonl.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from core.errors import ConfigError, NiyamError
from core.ports import CredentialStore
from core.types import PRACTICE_KINDS, AccountKind


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Its sub-folders exist; its files come and go with the parts that own them."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.ledger.resolve()}"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def audit(self) -> Path:
        return self.path / "audit"

    @property
    def instruments(self) -> Path:
        return self.path / "instruments"

    @property
    def recordings(self) -> Path:
        return self.path / "recordings"

    @property
    def session(self) -> Path:
        return self.path / "session"

    def token_file(self, broker: str) -> Path:
        """The day's broker session, shared by the daemon and `main.py login` (mode 0600)."""
        return self.session / f"{broker}.json"

    @property
    def data(self) -> Path:
        """Recorded data as `run --data` normalised it for the simulator."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "log"

    def about(self) -> dict[str, Any]:
        """What run.json says of this run: account, kind, the options that make it, `ended_at` once it closed in order."""
        return _read_json(self.path / "run.json") or {}

    def note(self, **facts: object) -> None:
        """Add facts to run.json (JSON values only; never a secret)."""
        _write_json(self.path / "run.json", {**self.about(), **facts})

    @property
    def ended(self) -> bool:
        """Whether the run came to its own end; False for one that was killed, and for one that still runs."""
        return bool(self.about().get("ended_at"))

    def finish(self, at: datetime) -> None:
        self.note(ended_at=at.isoformat())

    @property
    def began(self) -> bool:
        """Whether a day was opened in it."""
        return "day_open" in self.about()

    def refuse(self, at: datetime) -> None:
        """It never began a day, because of what it was asked: nothing is to be read out or gone on with."""
        self.note(ended_at=at.isoformat(), refused=True)

    def simulator(self) -> dict[str, Any] | None:
        """What the simulator of this run said of itself (`admin`, `pid`, ...), or None when the run never started one."""
        return _read_json(self.path / "simulator.json")

    def save_simulator(self, facts: Mapping[str, Any] | None) -> None:
        """Remember the simulator so that the next `run` can attach to it again; None forgets it."""
        if facts is None:
            (self.path / "simulator.json").unlink(missing_ok=True)
        else:
            _write_json(self.path / "simulator.json", dict(facts))


class Lock:
    """The single-instance lock. The kernel frees it when the process dies, however it dies."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._descriptor: int | None = None

    def __enter__(self) -> "Lock":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise NiyamError(
                f"another daemon (process {holder}) already runs on {self._path.parent}; "
                f"look at it with `main.py status --state {self._path.parent}`, or give this one another --state folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def current(state: Path) -> RunFolder | None:
    """The run that read-outs show: the one started last, of several accounts the one in use. None when nothing ever ran here."""
    return next(iter(currents(state)), None)


def currents(state: Path) -> list[RunFolder]:
    """The runs started last, one for each account of the process, the account in use first."""
    pointer = state / "current"
    if not pointer.exists():
        return []
    folders = [state / line for line in pointer.read_text(encoding="utf-8").split("\n") if line]
    return [RunFolder(folder) for folder in folders if folder.is_dir()]


def show(state: Path, folders: Sequence[RunFolder]) -> None:
    """Make these the runs that read-outs show, the first as that of the account in use."""
    _write_text(state / "current", "".join(f"{os.path.relpath(one.path, state)}\n" for one in folders))


def of_account(state: Path, account: str) -> RunFolder:
    """The latest run of this account; NiyamError names those there are."""
    running = [one for one in currents(state) if one.about().get("account") == account]
    own = state / "accounts" / account
    if running:
        return running[0]
    if (own / "run.json").exists():
        return RunFolder(own)
    last = _last_run(state, account)
    if last is None:
        known = sorted({str(one.about().get("account")) for one in [*currents(state), *_all(state)]})
        raise NiyamError(f"the account {account!r} has never run in {state}; there are {', '.join(known) or 'none'}")
    return last


def account_folder(state: Path, account: str) -> RunFolder:
    """The folder of a paper or live account, made if it is not there."""
    return _furnish(state / "accounts" / account)


def ledger_url(folder: RunFolder, kind: AccountKind, configured: str, secrets: CredentialStore) -> str:
    """Where this run's ledger is. A practice run always has its own file; `configured` (settings: database.url) is for the others.

    One account to a database: `{account}` in its URL is the account's name. The password of a PostgreSQL URL comes from the secret
    NIYAM_DATABASE_PASSWORD.
    """
    if kind in PRACTICE_KINDS or configured == "sqlite":
        return folder.ledger_url
    configured = configured.replace("{account}", folder.id)
    if configured.startswith("sqlite"):
        return configured
    scheme, _, rest = configured.partition("://")
    user, at, place = rest.rpartition("@")
    password = quote(secrets.get_secret("NIYAM_DATABASE_PASSWORD"), safe="") if at else ""
    driver = "postgresql+psycopg" if scheme == "postgresql" else scheme
    return f"{driver}://{user}:{password}@{place}" if at else f"{driver}://{place}"


def enter(state: Path, account: str, kind: AccountKind, now: datetime, *, resume: bool = False) -> tuple[RunFolder, bool]:
    """The folder this daemon works in, made current, and whether it goes on from an earlier process. Call it holding the Lock.

    A paper or live account has one folder for ever. The practice kinds start a fresh run, unless `resume` is asked for or the last
    run of this account died; `resume` with nothing to resume raises ConfigError.
    """
    if kind not in PRACTICE_KINDS:
        folder = state / "accounts" / account
        continues = (folder / "run.json").exists()
    else:
        last = _last_run(state, account)
        continues = last is not None and (resume or not last.ended)
        if resume and last is None:
            raise ConfigError(f"--resume: account {account!r} has no earlier run in {state / 'runs'}; start one without --resume")
        folder = last.path if continues and last is not None else _fresh(state / "runs", now)
    return _take(state, folder, account, kind, now), continues


def simulated(state: Path, account: str, kind: AccountKind, simulator: str, now: datetime) -> RunFolder:
    """The folder of scripts that trade at one free-running simulator (`simulator`: its admin address), made current. Hold the Lock."""
    return _take(state, simulated_folder(state, account, simulator).path, account, kind, now)


def simulated_folder(state: Path, account: str, simulator: str) -> RunFolder:
    """The same without making it current."""
    return _furnish(state / "simulated" / f"{account}-{simulator.rstrip('/').rpartition(':')[2]}")


def _take(state: Path, folder: Path, account: str, kind: AccountKind, now: datetime) -> RunFolder:
    run = _furnish(folder)
    run.note(account=account, kind=str(kind), started_at=run.about().get("started_at") or now.isoformat(), ended_at=None)
    show(state, [run])
    return run


def _last_run(state: Path, account: str) -> RunFolder | None:
    return next((run for run in _all(state) if run.about().get("account") == account), None)


def _all(state: Path) -> Iterator[RunFolder]:
    """Every practice run that was not refused, the latest first."""
    for file in sorted((state / "runs").glob("*/run.json"), key=lambda file: file.parent.name, reverse=True):
        run = RunFolder(file.parent)
        if not run.about().get("refused"):
            yield run


def _fresh(runs: Path, now: datetime) -> Path:
    """A folder name that sorts by time: the wall clock's second, counted up where two runs share one."""
    for count in range(1, 1000):
        folder = runs / f"{now:%Y%m%d-%H%M%S}-{count:03d}"
        if not folder.exists():
            return folder
    raise NiyamError(f"{runs} holds 999 runs begun in the same second; remove old ones")


def _furnish(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    for part in (run.audit, run.instruments, run.recordings, run.session, run.data, run.log):
        part.mkdir(parents=True, exist_ok=True)
    for private in (folder, run.audit, run.session):
        private.chmod(0o700)
    return run


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise NiyamError(f"{path} is not the JSON this program wrote ({error}); move it away and start again") from None
    return found if isinstance(found, dict) else None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a crash, sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
