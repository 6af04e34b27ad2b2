"""What each command of the CLI does, one function each: flags in, exit code out, the result on standard output."""

import argparse
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.clock import SystemClock
from core.errors import ConfigError, NiyamError
from core.types import AccountKind
from runtime import state_folder
from runtime.state_folder import RunFolder
from utils import control

if TYPE_CHECKING:
    from core.types import Account
    from runtime.venue import Venue
    from utils.config_loader import Config

OUTCOME = 900.0  # seconds a command may take until its outcome is known (a square-off in a thin market)
READ = 60.0


def run(options: argparse.Namespace) -> int:
    from runtime import daemon
    from runtime.options import RunOptions

    return daemon.run(
        RunOptions(
            config=Path(options.config),
            state=_state(options),
            broker=options.broker,
            account=options.account[0] if options.account else None,
            beside=tuple(options.account[1:]) if options.account else (),
            days=options.days,
            date=options.date,
            start=options.start,
            speed=options.speed,
            data=_path(options.data),
            symbols=_path(options.symbols),
            repair=options.repair,
            strategy=_path(options.strategy),
            instrument=options.instrument,
            seed=options.seed,
            faults=_path(options.faults),
            simulator=options.simulator,
            resume=options.resume,
            api=options.api,
        )
    )


def check(options: argparse.Namespace) -> int:
    from runtime import checks

    result = checks.of_all(Path(options.config), _state(options), SystemClock(), account=options.account)
    _show("check", result, options.json)
    return 0 if result["ok"] else 1


def readout(options: argparse.Namespace) -> int:
    """Ask the daemon; when it is down, read its ledger. Of several accounts side by side all are told, unless one is named."""
    asked = {"day": options.day, "from": options.start_day, "to": options.end_day}
    arguments = {name: day.isoformat() for name, day in asked.items() if day is not None}
    if "day" in arguments and len(arguments) > 1:
        raise ConfigError("--day says one day, --from and --to a period; give one or the other")
    documents = {}
    folders = _folders(options)
    for folder in folders:
        try:
            documents[_name_of(folder)] = _document(options, folder, arguments)
        except NiyamError as error:
            if len(folders) == 1:
                raise
            sys.stderr.write(f"{_name_of(folder)}: {error}\n")  # the others are told all the same
    if not documents:
        return 1
    if options.json or len(documents) == 1 or options.command == "status":
        _show(options.command, _together(documents), options.json)
        return 0
    for name, data in documents.items():
        sys.stdout.write(f"account {name}\n")
        sys.stdout.flush()
        _show(options.command, data, False)
    return 0


def _document(options: argparse.Namespace, folder: RunFolder, arguments: Mapping[str, Any]) -> Any:
    """One account's document; raises NiyamError."""
    data = _asked(options, folder, options.command, arguments)
    if options.command == "status":
        _refuse_another_day(data, options)
    if options.command == "report" and "days" in data:
        from runtime import beside  # a backtest of each day, here and not in the daemon

        data["beside_backtest"] = beside.rows(data["days"], _asked(options, folder, "fills", arguments), folder.recordings)
    return data


def _refuse_another_day(status: Mapping[str, Any], options: argparse.Namespace) -> None:
    """A status is of the last moment; NiyamError where it was asked for of days that this moment is not in."""
    now = str((status.get("market") or {}).get("now") or "")[:10]
    first, last = (options.day or given for given in (options.start_day, options.end_day))
    if now and ((first is not None and now < first.isoformat()) or (last is not None and now > last.isoformat())):
        raise NiyamError(f"status tells of the last moment, on {now}; of an earlier day `report`, `orders` and `journal` with --day do")


def _together(documents: Mapping[str, Any]) -> Any:
    """One document of several accounts': their rows one after the other, each with its account; of what is no list that of the account in
    use, with each account's under `accounts`."""
    first = next(iter(documents.values()))
    if len(documents) == 1:
        return first
    if isinstance(first, list):
        return [{"account": name, **row} for name, rows in documents.items() for row in rows]
    return first if "accounts" in first else {**first, "accounts": list(documents.values())}


def _asked(options: argparse.Namespace, folder: RunFolder, name: str, arguments: Mapping[str, Any]) -> Any:
    """What the daemon answers; when it is down, what its ledger has."""
    try:
        answer = control.ask(folder.control_socket, name, dict(arguments), timeout=READ)
    except control.DaemonDown:
        return _from_ledger(options, folder, name, arguments)
    if not answer.ok:
        raise NiyamError(answer.text)
    return answer.data


def replay(options: argparse.Namespace) -> int:
    """A recorded day of the latest run once more, beside what its ledger has."""
    from runtime import replay_day
    from storage.store import open_reader

    folder = _folders(options)[0]
    store = open_reader(_ledger_of(folder, Path(options.config)))
    try:
        return replay_day.command(options, folder, store)
    finally:
        store.close()


def order(options: argparse.Namespace) -> int:
    """Give the running daemon a command and say what came of it."""
    arguments: dict[str, Any] = {name: given for name in ("whole_account", "confirm", "tag") if (given := getattr(options, name, None))}
    if options.command == "watch":
        arguments = {"name": options.name, "stop": options.stop}
    if options.command in ("enable", "disable"):
        arguments = {"name": options.name}
    if options.command == "retune":
        arguments = {"name": options.name, "values": _fields(options.fields)}
    folders = _folders(options)
    if len(folders) > 1 and arguments.get("whole_account"):  # whose id is typed out is meant
        folders = [folder for folder in folders if _name_of(folder) == options.whole_account] or folders[:1]
    if len(folders) > 1 and options.command in ("enable", "disable", "retune"):
        folders = [folder for folder in folders if _has(folder, "strategies", "name", options.name)] or folders[:1]
    if len(folders) > 1 and options.command == "absent":
        folders = [folder for folder in folders if _has(folder, "orders", "tag", options.tag)] or folders[:1]
    answers: dict[str, control.Answer] = {}
    for folder in folders:
        try:
            answers[_name_of(folder)] = control.ask(folder.control_socket, options.command, arguments, timeout=OUTCOME)
        except control.DaemonDown as error:
            if len(folders) == 1:
                raise
            answers[_name_of(folder)] = control.Answer(ok=False, text=str(error))
    return _told(answers, options.json)


def _told(answers: Mapping[str, control.Answer], as_json: bool) -> int:
    """Say what came of a command, for each account that had it; 1 where any refused."""
    done = all(answer.ok for answer in answers.values())
    if not as_json:
        for name, one in answers.items():
            (sys.stdout if one.ok else sys.stderr).write((f"{name}: " if len(answers) > 1 else "") + one.text + "\n")
        return 0 if done else 1
    rows = [{"account": name, "ok": one.ok, "text": one.text, "data": one.data} for name, one in answers.items()]
    if len(rows) == 1:
        _print_json({"ok": done, "text": rows[0]["text"], "data": rows[0]["data"]})
    else:
        text = "; ".join(f"{row['account']}: {row['text']}" for row in rows)
        _print_json({"ok": done, "text": text, "data": None, "accounts": rows})
    return 0 if done else 1


def _has(folder: RunFolder, readout: str, field: str, value: str) -> bool:
    """Whether a row that this account's daemon reads out has this value in a field."""
    try:
        rows = control.ask(folder.control_socket, readout, timeout=READ).data or ()
    except control.DaemonDown:
        return False
    return any(row[field] == value for row in rows)


def _fields(given: Sequence[str]) -> dict[str, Any]:
    """FIELD=VALUE as YAML would read the value; ConfigError names what is no such pair."""
    import yaml

    found: dict[str, Any] = {}
    for one in given:
        field, equals, text = one.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{one!r}: the value is no YAML ({error}); quote it, e.g. 'size={{lots: 2}}'") from None
        if not equals or not field:
            raise ConfigError(f"{one!r} is no FIELD=VALUE; write e.g. params.fast=5")
        found[field] = value
    return found


def login(options: argparse.Namespace) -> int:
    from runtime import login as doing

    practised = doing.practice(_state(options), options.account) if options.redirect_url is None and not options.totp else None
    if practised is not None:
        name, text = practised
    else:
        config, account, here = _config_and_account(options, options.broker)
        given = (one.account(name) for name, one in config.settings.accounts.items() if name != account.name)
        same = [one for one in given if not here.simulator and here.its(one) is not None and one.app == account.app]
        text = doing.login(account, _state(options), here, answer=options.redirect_url, totp=options.totp, siblings=same)
        name = account.name
    if options.json:
        _print_json({"ok": True, "text": text, "account": name})
    else:
        sys.stdout.write(text + "\n")
    return 0


def serve(options: argparse.Namespace) -> int:
    from runtime import serve as doing

    return doing.command(options, _state(options))


def vault(options: argparse.Namespace) -> int:
    from runtime import vault as doing

    data = doing.command(options, _state(options))
    if options.json:
        _print_json(data)
    else:
        sys.stdout.write(doing.told(options.action, data))
    return 0


def instruments(options: argparse.Namespace) -> int:
    from runtime import instruments as doing
    from runtime import venue

    if (options.action in ("resolve", "roll-table")) != bool(options.name):
        raise ConfigError("`instruments resolve NAME` and `roll-table NAME` need a name; `update` and `show` take none")
    state = _state(options)
    data: Any
    if options.action == "report":
        if options.file is None:
            raise ConfigError("`instruments report` needs --file DUMP, and takes --on DATE (its day), --broker B and --before DUMP")
        here, before = venue.find(options.broker), Path(options.before) if options.before else None
        data = doing.report(Path(options.config), here, Path(options.file), options.on or here.clock.now().date(), before)
    elif options.action == "join":
        if None in (options.file, options.on, options.other, options.other_file, options.other_on):
            raise ConfigError(
                "`instruments join` needs two dumps and their days: --broker icici --file F --on D, --with upstox --with-file F --with-on D"
            )
        data = doing.join((options.broker, Path(options.file), options.on), (options.other, Path(options.other_file), options.other_on))
    elif options.action == "update":
        config, account, here = _config_and_account(options, options.broker)
        if options.file is not None:
            day = options.on or here.clock.now().date()
            data = doing.update_from_file(Path(options.config), state, here, account, Path(options.file), day)
        else:
            data = doing.update(config, account, state, here)
    elif options.action == "show":
        data = doing.show(Path(options.config), state, options.broker)
    elif options.action == "roll-table":
        if options.start_day is not None and options.end_day is not None and options.start_day > options.end_day:
            raise ConfigError(f"--from {options.start_day} is after --to {options.end_day}")
        if options.start_day is None or options.end_day is None:
            raise ConfigError(
                "roll-table needs --from and --to, such as `instruments roll-table NIFTY_FUT --from 2026-01-01 --to 2026-06-30`"
            )
        from data_ingestion.intervals import kept_interval

        source, minutes = options.source or options.broker, kept_interval(options.interval)
        data = doing.roll_table(Path(options.config), state, options.name, options.start_day, options.end_day, source, minutes)
    else:
        on = options.on or venue.find(options.broker).clock.now().date()
        data = doing.resolve(Path(options.config), state, options.broker, options.name, on, options.price)
    _show("instruments", data, options.json)
    return 0 if not isinstance(data, dict) or data.get("accepted", True) else 1


def fetch(options: argparse.Namespace) -> int:
    from runtime import fetch as doing

    asked = doing.FetchOptions(
        state=_state(options),
        config=Path(options.config),
        name=options.name or "",
        start=options.start_day,
        end=options.end_day,
        interval=options.interval,
        source=options.source or "",
        account=options.account,
        out=_path(options.out),
        continuous=options.continuous,
        adjust=options.adjust or "",
        repair=options.repair,
        imported=_path(options.imported),
        symbols=_path(options.symbols),
    )
    if options.account is not None:
        doing.refuse_at_simulator()
        _config_and_account(options, options.source or "zerodha")  # the account is there, is real, and is this broker's
    data = doing.run(asked, quiet=options.json)
    _show("fetch", data, options.json)
    return 0 if data["whole"] else 1


def prepared_data(options: argparse.Namespace) -> str:
    """Check and normalise `--data` for a stand-alone simulator, into the state folder; notes go to standard error."""
    from data_ingestion.prepare import prepare
    from utils.config_loader import load_calendar

    source = Path(options.data).resolve()
    folder = _state(options) / "simulate" / f"{source.stem}-{zlib.crc32(str(source).encode()):08x}"
    folder.mkdir(parents=True, exist_ok=True)
    calendar = load_calendar(Path(options.config), assumed_cut_offs=True)

    def note(text: str) -> None:
        sys.stderr.write(f"niyam: {text}\n")

    prepare(source, folder, calendar, symbols=_path(options.symbols), repair=options.repair, on_note=note)
    return str(folder)


def _config_and_account(options: argparse.Namespace, broker: str) -> "tuple[Config, Account, Venue]":
    """The configuration, the account a broker command is for (--account, the one in use, or the broker's only one), and its venue.

    A broker has paper and live accounts, the simulator of NIYAM_SIMULATOR practice ones.
    """
    from runtime import venue
    from utils.config_loader import load

    here = venue.find(broker)
    config = load(Path(options.config))
    accounts = {name: given.account(name) for name, given in config.settings.accounts.items()}
    if options.account is not None and options.account not in accounts:
        raise ConfigError(f"--account {options.account!r}: settings.yaml has {', '.join(accounts)}")
    real = [account for given in accounts.values() if (account := here.its(given)) is not None]
    for name in (options.account, config.settings.account):
        chosen = [account for account in real if account.name == name]
        if chosen:
            return config, chosen[0], here
    if options.account is not None and here.simulator:
        raise ConfigError(f"account {options.account!r} is no practice account: unset NIYAM_SIMULATOR to log in at {broker} itself")
    if options.account is not None:
        raise ConfigError(f"account {options.account!r} is no paper or live account at {broker}; practice needs no login of yours")
    if len(real) != 1:
        names = ", ".join(account.name for account in real) or "none"
        raise ConfigError(
            f"paper and live accounts at {broker} in settings.yaml: {names}; add one, or name one with --account; "
            f"to log in at a simulator, set NIYAM_SIMULATOR to the admin address that `main.py simulate {broker}` prints"
        )
    return config, real[0], here


def _from_ledger(options: argparse.Namespace, folder: RunFolder, name: str, arguments: Mapping[str, Any]) -> Any:
    from runtime import readout as documents
    from storage.store import open_reader

    store = open_reader(_ledger_of(folder, Path(options.config)))
    try:
        return documents.document(store, name, arguments)
    finally:
        store.close()


def _ledger_of(folder: RunFolder, config: Path) -> str:
    """The URL of a run's ledger; the configuration is only read when it is not a file of the run."""
    if folder.ledger.exists():
        return folder.ledger_url
    from utils.config_loader import config as secrets
    from utils.config_loader import load

    kind = AccountKind(folder.about().get("kind", AccountKind.PRACTICE))
    return state_folder.ledger_url(folder, kind, load(config).settings.database.url, secrets)


def _folders(options: argparse.Namespace) -> list[RunFolder]:
    """The run of --account, or those of all accounts that were started together last; the account in use comes first."""
    state, account = _state(options), getattr(options, "account", None)
    if account is not None:
        return [state_folder.of_account(state, account)]
    folders = state_folder.currents(state)
    if not folders:
        raise NiyamError(f"nothing has run in the state folder {state} yet; start with `main.py run`, or name another with --state")
    return folders


def _name_of(folder: RunFolder) -> str:
    return str(folder.about().get("account", folder.id))


def _state(options: argparse.Namespace) -> Path:
    from utils.config_loader import environment, use_state

    state = Path(options.state or environment("NIYAM_STATE") or "var")
    use_state(state)
    return state


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _show(name: str, data: Any, as_json: bool) -> None:
    if as_json:
        _print_json(data)
        return
    from runtime import tables

    tables.show(name, data)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
