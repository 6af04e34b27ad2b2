#!/usr/bin/env python3
"""The command line: reads the flags, calls one function for the command, and turns errors into exit codes (0 done, 1 wrong, 2 misused)."""

from __future__ import annotations

import argparse
import resource
import sys

TYPE_CHECKING = False  # typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

# Nothing else is imported here: `--help` must cost little more than a bare interpreter, and `simulate` must stay free of our engine.

READOUTS = {
    "status": "account, market phase, feed, session, P&L and alerts",
    "strategies": "each strategy: whether it runs and why not, its settings, what it holds",
    "orders": "every order of the day with its state",
    "fills": "every execution with its charges",
    "positions": "what each strategy holds, marked to the last price",
    "signals": "what the strategies asked for, and why",
    "journal": "everything that was decided, numbered without gaps",
    "report": "the day's result; with --from and --to a period and the go-live gate",
    "usage": "calls to the broker by lane and kind, and how much of each limit the day used",
}
COMMANDS = {
    "pause": "no new entries; exits, stops and the square-off go on (trading state REDUCE_ONLY until `resume`)",
    "resume": "trade again after pause, reduce-only or kill (`--confirm` after kill)",
    "reduce-only": "only orders that reduce a position",
    "acknowledge": "you have read what was wrong before the open, or what froze an instrument: entries may pass again",
    "absent": "an order of unknown fate is not at the broker's terminal (`--confirm`): it counts as never sent, and an exit goes again",
    "square-off": "cancel our working orders and close what our strategies own, now",
    "watch": "subscribe one more instrument of today for its ticks (`--stop`: no longer); what strategies use stays subscribed",
    "reload": "take up changed files of config/strategies/ and config/market/ (not charges): judged first, a bad file changes nothing",
    "retune": "change fields of a strategy in its file and in the running daemon: retune nifty_trend params.fast=5 risk.max_trades=3",
    "enable": "let a strategy trade, until `disable` or its file says otherwise",
    "disable": "stop a strategy, until `enable` or its file says otherwise; what it holds is closed, or kept by its `on_disable: keep`",
    "kill": "cancel and flatten what our ledger owns, then halt; the halt survives restarts until `resume --confirm`",
}


def main(arguments: Sequence[str] | None = None) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not write our memory, and the secrets in it, to a file
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = given[0] if given else ""
    parser = build_parser(chosen)
    if chosen.startswith("-") and chosen not in ("-h", "--help"):
        parser.error(f"{chosen} stands before the command; flags come after it, as in `main.py status --json`")
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return int(options.call(options))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `main.py orders | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        return _say(error)


def _say(error: Exception) -> int:
    """One clear line for what a person did or met; anything else is a defect and keeps its traceback."""
    from core.errors import ConfigError, DataError, NiyamError

    if not isinstance(error, NiyamError | OSError):
        raise error
    told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    print(f"niyam: {told}", file=sys.stderr)
    return 2 if isinstance(error, ConfigError | DataError) else 1


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors, and help of a fixed width (finding the terminal's costs as much as all the rest)."""

    def __init__(self, **options: Any) -> None:
        self._flags: list[str] = []
        super().__init__(formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100), **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        self._flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a command speaks itself of the words that it does not know, where argparse leaves them to the top."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown and not unknown[0].startswith("-"):  # argparse leaves over optional words that stand behind a flag
            if getattr(options, "name", "") is None:
                options.name = unknown.pop(0)
            while unknown and not unknown[0].startswith("-") and isinstance(getattr(options, "strategy", None), list):
                options.strategy.append(unknown.pop(0))
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = f"there is no flag {flag}{_nearest(flag, self._flags)}"
            self.error(known if flag.startswith("-") else f"{flag!r} is one word too many")
        return options, unknown

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message}{'' if message.endswith('?') else ';'} see `{self.prog} --help`\n")


def _nearest(word: str, known: Iterable[str]) -> str:
    """The name that was probably meant, as the rest of a sentence; empty where none is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def build_parser(chosen: str) -> argparse.ArgumentParser:
    """The parser that knows every command by name, and the flags of the `chosen` one."""
    parser = _Parser(
        prog="main.py",
        description="Niyam: an event-driven trading daemon for the Indian markets.",
        epilog="First day: `main.py run` trades a practice day against a simulated broker, no account and no internet needed. "
        "Then `main.py report`. Each command has its own --help.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, (text, add_flags, call) in _commands().items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            command.set_defaults(call=call)
            command.add_argument("--config", metavar="DIR", default="config", help="configuration folder (default: ./config)")
            command.add_argument("--state", metavar="DIR", help="state folder (default: $NIYAM_STATE, else ./var)")
            add_flags(command)
    if chosen and not chosen.startswith("-") and chosen not in commands.choices:
        parser.error(f"there is no command {chosen!r}{_nearest(chosen, commands.choices)}")
    return parser


def _commands() -> dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]]:
    return {
        "run": ("the daemon: trades an account, or several side by side, until stopped, or for --days", _run_flags, _run),
        "check": ("everything that would stop or endanger a trading day, with its remedy; exit 1 if any", _check_flags, _check),
        **{name: (text, _readout_flags, _readout) for name, text in READOUTS.items()},
        **{name: (text, _order_flags, _order) for name, text in COMMANDS.items()},
        "login": ("the day's broker session: shows the login URL and catches its redirect on localhost", _login_flags, _login),
        "instruments": (
            "the dated instrument snapshots: fetch today's, list them, resolve a name such as NIFTY_FUT on a date, list its rolls",
            _instruments_flags,
            _instruments,
        ),
        "fetch": (
            "historical candles into the candle store (or a file of them with --import), and what they lack; exit 1 when gaps remain",
            _fetch_flags,
            _fetch,
        ),
        "charges": ("what a trade costs at a broker on a date, line by line with each rate's source", _charges_flags, _charges),
        "backtest": ("strategies over recorded data, or a recorded day again, on the engine that trades live", _backtest_flags, _backtest),
        "serve": ("API and dashboard without an engine (`run` starts them by itself)", _serve_flags, _serve),
        "vault": ("the credential store: sealed secrets by name, and the broker apps of the API", _vault_flags, _vault),
        "sweep": ("many runs of one strategy over recorded data: its parameters side by side, or walked forward", _sweep_flags, _sweep),
        "replay": (
            "a recorded day through the same engine again: whether each decision and order is identical; exit 1 where one differs",
            _replay_flags,
            _replay,
        ),
        "simulate": (
            "a stand-alone wire simulator of a broker, for any client; its market is synthetic unless --data is given",
            _simulate_flags,
            _simulate,
        ),
    }


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def _check_flags(check: argparse.ArgumentParser) -> None:
    check.add_argument("--account", metavar="A", help="check for this account instead of the one in settings.yaml")
    _json_flag(check)


def _account_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="A", help="this account instead of all that the daemon trades side by side")


def _readout_flags(readout: argparse.ArgumentParser) -> None:
    _account_flag(readout)
    readout.add_argument("--day", metavar="YYYY-MM-DD", type=_date, help="this day instead of the latest")
    readout.add_argument("--from", metavar="D", dest="start_day", type=_date, help="from this day on")
    readout.add_argument("--to", metavar="D", dest="end_day", type=_date, help="up to and with this day")
    _json_flag(readout)


def _order_flags(command: argparse.ArgumentParser) -> None:
    _account_flag(command)
    name = command.prog.rpartition(" ")[2]
    if name == "kill":
        command.add_argument("--whole-account", metavar="ID", help="also what our ledger does not own; type the account's id")
    if name == "watch":
        command.add_argument("name", metavar="NAME", help="NIFTY_FUT, RELIANCE, NFO:NIFTY26NOVFUT")
        command.add_argument("--stop", action="store_true", help="give up what was watched by hand")
    if name in ("enable", "disable", "retune"):
        command.add_argument("name", metavar="NAME", help="the strategy: its file's name without .yaml")
    if name == "retune":
        command.add_argument("fields", metavar="FIELD=VALUE", nargs="+", help="as in the file, dotted: params.fast=5, size.lots=2")
    if name == "absent":
        command.add_argument("tag", metavar="TAG", help="the order's tag, as the page and `orders` show it")
        command.add_argument("--confirm", action="store_true", help="yes, it is not in the terminal's order book")
    if name == "resume":
        command.add_argument("--confirm", action="store_true", help="needed after kill: yes, trade again")
    _json_flag(command)


def _run_flags(run: argparse.ArgumentParser) -> None:
    run.epilog = (
        "Without flags: the account `practice` on a simulated broker, playing 2026-11-20 from 09:00. "
        "Ctrl-C stops it in order; a second `run` after a crash goes on where it died."
    )
    run.add_argument("--broker", metavar="B", help="broker of the practice accounts (default: zerodha)")
    run.add_argument(
        "--account",
        metavar="A",
        action="append",
        help="account of settings.yaml: practice, practice-live, or your own paper or live one; given several times: side by side",
    )
    run.add_argument("--days", metavar="N", type=_count, help="end by itself after N closed sessions and print the day's report")
    run.add_argument("--date", metavar="D", type=_date, help="first simulated day (default: 2026-11-20, or the data's first full session)")
    run.add_argument("--start", metavar="HH:MM", type=_time, help="first simulated moment of that day (default: 09:00)")
    run.add_argument(
        "--speed", metavar="X|max", type=_speed, help="market seconds per second at most (default 60), or max; simulated accounts only"
    )
    run.add_argument("--data", metavar="PATH", help="replay recorded bars or ticks (Parquet or CSV, file or folder) through the simulator")
    run.add_argument("--symbols", metavar="FILE", help="YAML: vendor's symbol -> instrument key (default: symbols.yaml beside the data)")
    run.add_argument("--repair", action="store_true", help="drop bad rows of --data and say which, instead of refusing the file")
    run.add_argument("--strategy", metavar="FILE", help="run this strategy file alone")
    run.add_argument("--instrument", metavar="SYM", help="replaces `instruments` of all enabled strategies, e.g. NIFTY_FUT")
    run.add_argument("--seed", metavar="N", type=_whole, help="seed of the synthetic market and of the simulator's latencies")
    run.add_argument("--faults", metavar="FILE", help="faults that the simulator injects (YAML or JSON)")
    run.add_argument("--simulator", metavar="ADMIN_URL", help="use this running simulator (`main.py simulate zerodha --granted`)")
    run.add_argument("--resume", action="store_true", help="go on with the last practice run instead of starting a fresh one")
    run.add_argument("--no-api", dest="api", action="store_false", help="no web process: neither API nor dashboard")


def _login_flags(login: argparse.ArgumentParser) -> None:
    login.add_argument("broker", metavar="BROKER", help="angelone, groww, icici, upstox, zerodha")
    login.add_argument("--account", metavar="A", help="account of settings.yaml (default: the one in use, else the broker's own)")
    login.add_argument(
        "--redirect-url", metavar="URL", help="the address the browser ended on, or its request_token, instead of catching it"
    )
    login.add_argument("--totp", action="store_true", help="log in unattended by a stored TOTP secret (Angel One)")
    _json_flag(login)


def _instruments_flags(instruments: argparse.ArgumentParser) -> None:
    instruments.add_argument(
        "action",
        choices=("update", "show", "resolve", "roll-table", "report", "join"),
        help="update: make today's snapshot; show: list what there is; resolve: what NAME means; roll-table: when NAME changes its "
        "contract; report: what of a dump can be used; join: two brokers' dumps held against each other",
    )
    instruments.add_argument(
        "name", nargs="?", metavar="NAME", help="what to resolve: NIFTY_FUT, NIFTY_WEEK_ATM_CE, RELIANCE, NFO:NIFTY26NOVFUT"
    )
    instruments.add_argument(
        "--price", metavar="P", type=_price, help="the underlying's price, for names such as NIFTY_ATM_CE or NIFTY_CE_+2"
    )
    instruments.add_argument("--on", metavar="DATE", type=_date, help="as on this day (default: today)")
    instruments.add_argument(
        "--file", metavar="F", help="update, report, join: the broker's dump in this file (packed or not), without a login"
    )
    instruments.add_argument("--before", metavar="F", help="report: another day's dump to compare with")
    instruments.add_argument("--with", metavar="B", dest="other", help="join: the broker to compare with")
    instruments.add_argument("--with-file", metavar="F", dest="other_file", help="join: its dump")
    instruments.add_argument("--with-on", metavar="DATE", dest="other_on", type=_date, help="join: the day of that dump")
    instruments.add_argument("--from", metavar="D", dest="start_day", type=_date, help="roll-table: rolls from this day on")
    instruments.add_argument("--to", metavar="D", dest="end_day", type=_date, help="roll-table: up to and with this day")
    instruments.add_argument("--source", metavar="S", help="roll-table: whose candles in the store give prices (default: the broker)")
    instruments.add_argument("--interval", metavar="I", default="day", help="roll-table: of which candles (default: day)")
    instruments.add_argument("--broker", metavar="B", default="zerodha", help="whose instruments (default: zerodha)")
    instruments.add_argument("--account", metavar="A", help="whose session fetches them (default: the account in use)")
    _json_flag(instruments)


def _fetch_flags(fetch: argparse.ArgumentParser) -> None:
    fetch.epilog = (
        "For example `main.py fetch NIFTY_FUT --from 2026-11-16 --to 2026-11-20 --interval 5minute`. Only what is missing is asked for, "
        "and a fetch that was interrupted goes on where it was. The login is that of `python utils/zerodha_auth.py`, or --account's."
    )
    fetch.add_argument("name", nargs="?", metavar="NAME", help="NIFTY_FUT (today's near month), RELIANCE, NFO:NIFTY26NOVFUT")
    fetch.add_argument("--from", metavar="D", dest="start_day", type=_date, help="from this day on")
    fetch.add_argument("--to", metavar="D", dest="end_day", type=_date, help="up to and with this day")
    fetch.add_argument("--interval", metavar="I", default="minute", help="minute, 3minute … 60minute, day, or 5m, 1h (default: minute)")
    fetch.add_argument("--source", metavar="B", help="the broker (default: zerodha); with --import the name they are kept under")
    fetch.add_argument("--account", metavar="A", help="use the session of this account of settings.yaml")
    fetch.add_argument(
        "--out", metavar="FILE", type=_new_file, help="also write the range to this .parquet or .csv file, in the format that --data reads"
    )
    fetch.add_argument("--continuous", action="store_true", help="day candles of a future and of the contracts before it")
    fetch.add_argument(
        "--adjust",
        choices=("raw", "back", "ratio"),
        help="with --continuous: stitch what the store has of each contract, as traded, or with gaps added or multiplied; asks no broker",
    )
    fetch.add_argument("--repair", action="store_true", help="ask for gaps again, drop bars outside sessions; with --import drop bad rows")
    fetch.add_argument(
        "--import", metavar="PATH", dest="imported", help="bars from a Parquet or CSV file, or a folder, instead of a broker"
    )
    fetch.add_argument("--symbols", metavar="FILE", help="for --import: YAML, vendor's symbol -> instrument key")
    _json_flag(fetch)


def _charges_flags(charges: argparse.ArgumentParser) -> None:
    charges.epilog = (
        "For example `main.py charges --kind future --side SELL --quantity 65 --price 24000`, or a round trip: "
        "`main.py charges --instrument NSE:SBIN --product carry --quantity 10 --buy-price 560 --sell-price 570 --on 2026-11-20`."
    )
    charges.add_argument("--broker", metavar="B", default="zerodha", help="whose brokerage (default: zerodha)")
    charges.add_argument("--plan", metavar="P", help="the broker's plan, where it sells several (icici: ivalue, prime_9999)")
    charges.add_argument("--instrument", metavar="KEY", help="what is traded: NFO:NIFTY26NOVFUT, NSE:SBIN, NIFTY_FUT")
    charges.add_argument("--kind", choices=("equity", "future", "option"), help="instead of an instrument: its kind, with --exchange")
    charges.add_argument("--exchange", metavar="E", help="NSE (default), BSE, NFO, BFO, MCX or CDS")
    charges.add_argument("--underlying", metavar="U", help="with --kind: the underlying (default: NIFTY, on BSE SENSEX)")
    charges.add_argument("--side", choices=("BUY", "SELL"), help="of one order")
    charges.add_argument("--quantity", metavar="N", type=_count, help="units, not lots")
    charges.add_argument("--price", metavar="P", type=_price, help="rupees a unit (an option's premium)")
    charges.add_argument("--buy-price", metavar="P", type=_price, help="with --sell-price: a purchase and a sale on the same day")
    charges.add_argument("--sell-price", metavar="P", type=_price, help="with --buy-price: the sale")
    charges.add_argument("--product", choices=("intraday", "carry"), default="intraday", help="carry: held overnight (default: intraday)")
    charges.add_argument("--lot", metavar="N", type=_count, help="units in a lot, for plans that charge by the lot")
    charges.add_argument("--multiplier", metavar="N", type=_count, default=1, help="rupees a point of price is worth a unit (default 1)")
    charges.add_argument("--on", metavar="DATE", type=_date, help="by the rates of this day (default: today)")
    _json_flag(charges)


def _backtest_flags(backtest: argparse.ArgumentParser) -> None:
    backtest.epilog = (
        "For example `main.py backtest config/strategies/nifty_trend.yaml --data bars.parquet --fill bar-path --slippage-ticks 1`. "
        "The data's form is in docs/market-data.md; what each fill rule flatters or hurts is in docs/backtesting.md."
    )
    backtest.add_argument("strategy", metavar="STRATEGY.yaml", nargs="*", help="strategy files, traded together in one account")
    _history_flags(backtest)
    backtest.add_argument("--html", metavar="FILE", type=_new_file, help="write a report with charts, one file that needs no network")
    backtest.add_argument("--progress", action="store_true", help="say on standard error after each day: progress DONE/DAYS")
    backtest.add_argument("--csv", metavar="FILE", type=_new_file, help="write the trades as CSV")
    backtest.add_argument(
        "--check",
        choices=("lookahead", "warmup"),
        help="instead of a result: does the strategy look ahead, or does it ask for too short a warm-up; exit 1 if so",
    )
    backtest.add_argument("--samples", metavar="N", type=_count, default=8, help="with --check: at how many places (default 8)")
    _json_flag(backtest)


def _history_flags(command: argparse.ArgumentParser) -> None:
    """What backtest and sweep have in common."""
    command.add_argument("--data", metavar="PATH", required=True, help="bars or ticks: a Parquet or CSV file, or a folder of them")
    command.add_argument("--from", metavar="D", dest="start_day", type=_date, help="from this day on (earlier days warm up)")
    command.add_argument("--to", metavar="D", dest="end_day", type=_date, help="up to and with this day")
    command.add_argument("--instrument", metavar="SYM", help="trade this instead of the file's instruments")
    command.add_argument("--symbols", metavar="FILE", help="YAML: vendor's symbol -> instrument key")
    command.add_argument("--repair", action="store_true", help="drop bad rows of the data and say which")
    command.add_argument("--broker", metavar="B", help="whose charges and hours (default: the account's in settings.yaml)")
    command.add_argument("--capital", metavar="RUPEES", type=_price, help="the account's money (default: the account's)")
    command.add_argument("--fill", choices=("next-open", "bar-path"), default="next-open", help="how orders meet bars (default next-open)")
    command.add_argument("--slippage-ticks", metavar="N", type=_cost, default=0.0, help="paid on each fill, within the order's limit")
    command.add_argument("--slippage-bps", metavar="N", type=_cost, default=0.0, help="the same in hundredths of a per cent")
    command.add_argument("--spread-ticks", metavar="N", type=_ticks, default=0, help="the whole spread where the data has no book")
    command.add_argument("--volume-share", metavar="F", type=_share, help="most of a bar's volume one order gets, e.g. 0.1")
    command.add_argument("--latency", metavar="S", type=_cost, default=0.0, help="seconds until an order is in the book")


def _sweep_flags(sweep: argparse.ArgumentParser) -> None:
    sweep.epilog = (
        'For example `main.py sweep config/strategies/nifty_trend.yaml --data bars.parquet --grid "fast=5:20:1,slow=20:60:5"`. The same '
        "command goes on where it was stopped. The best of many tries is the luckiest, too: --walk-forward train=60,test=20 says more."
    )
    sweep.add_argument("strategy", metavar="STRATEGY.yaml", help="the strategy's file")
    _history_flags(sweep)
    sweep.add_argument(
        "--grid", metavar="SPACE", required=True, help='values to try: "fast=5:20:1,slow=20:60:5" (from:to:step) or name=a|b'
    )
    sweep.add_argument("--search", choices=("grid", "random", "optuna"), default="grid", help="every combination, some, or a guided search")
    sweep.add_argument("--trials", metavar="N", type=_count, help="runs of a random or guided search (default 100)")
    sweep.add_argument("--seed", metavar="N", type=_whole, default=1, help="seed of a random or guided search (default 1)")
    sweep.add_argument("--objective", metavar="FIGURE", default="net", help="what is looked for: net (default), sharpe, max_drawdown, ...")
    sweep.add_argument("--prune", action="store_true", help="give up runs that fall behind the middle one")
    sweep.add_argument("--walk-forward", metavar="SPEC", help="train=DAYS,test=DAYS[,gap=DAYS]: choose on the one, judge on the other")
    sweep.add_argument(
        "--engine", choices=("auto", "event", "compiled"), default="auto", help="compiled where it can be (auto), or one of both"
    )
    sweep.add_argument("--workers", metavar="N", type=_count, help="processes (default: one a core)")
    sweep.add_argument("--cluster", metavar="ADDRESS", help="run on this Dask cluster instead, e.g. tcp://10.0.0.5:8786")
    sweep.add_argument(
        "--html", metavar="FILE", type=_new_file, help="write the heat map of two parameters, one file that needs no network"
    )
    _json_flag(sweep)


def _sweep(options: argparse.Namespace) -> int:
    from runtime import sweep

    return sweep.command(options)


def _backtest(options: argparse.Namespace) -> int:
    from runtime import backtest

    return backtest.command(options)


def _serve_flags(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", metavar="H", help="address to listen on (default: api.host, 127.0.0.1)")
    serve.add_argument("--port", metavar="N", type=_port, help="port (default: api.port, 8000)")
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM), with --tls-key")
    serve.add_argument("--tls-key", metavar="FILE", help="its private key (PEM)")
    serve.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS: a proxy in front of it has it")
    serve.add_argument("--child", action="store_true", help="started by `run`: ends when standard input does")


def _vault_flags(vault: argparse.ArgumentParser) -> None:
    vault.epilog = (
        "A secret is typed (not shown) or piped in, never given as an argument: `main.py vault set ZERODHA_API_SECRET < file`. "
        "The key is never in the database: it is STATE/vault.key, a password, the file of NIYAM_VAULT_KEY_FILE, or the systemd credential "
        "niyam-vault."
    )
    vault.add_argument(
        "action",
        choices=("init", "set", "list", "rotate", "export-public"),
        help="init: make the vault and its key; set: seal one secret; list: names and last characters; rotate: seal all with a new key; "
        "export-public: names alone",
    )
    vault.add_argument("name", nargs="?", metavar="NAME", help="set: the secret's name, such as ZERODHA_API_KEY")
    vault.add_argument("--password", action="store_true", help="init, rotate: the key comes from a password, asked for now")
    vault.add_argument("--key-file", metavar="F", help="init, rotate: the key comes from this file, which stays where it is")
    vault.add_argument("--fernet-key-file", metavar="F", help="set: what is given is a Fernet token, and this its key")
    _json_flag(vault)


def _replay_flags(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("--day", metavar="YYYY-MM-DD", type=_date, required=True, help="a day that the latest run recorded")
    replay.add_argument("--account", metavar="A", help="whose day, of several accounts side by side (default: the one in use)")
    _json_flag(replay)


def _replay(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.replay(options)


def _simulate_flags(simulate: argparse.ArgumentParser) -> None:
    simulate.add_argument("broker", metavar="BROKER", help="angelone, groww, icici, upstox, zerodha")
    simulate.add_argument(
        "--beside", metavar="BROKER", action="append", default=[], help="another broker's wire in front of the same exchange (repeatable)"
    )
    simulate.add_argument(
        "--port", metavar="N", type=_port, default=0, help="REST port; stream, login and admin follow (default 0: any free)"
    )
    simulate.add_argument("--speed", metavar="X|max", type=_speed, help="market seconds per second (default 1); with --granted the brake")
    simulate.add_argument("--date", metavar="D", type=_date, help="first day (default: 2026-11-20, or the data's first full session)")
    simulate.add_argument("--start", metavar="HH:MM", type=_time, help="first moment (default: 09:15)")
    simulate.add_argument("--data", metavar="PATH", help="replay recorded bars or ticks instead of the synthetic market")
    simulate.add_argument("--symbols", metavar="FILE", help="YAML: vendor's symbol -> instrument key")
    simulate.add_argument("--repair", action="store_true", help="drop bad rows of --data and say which")
    simulate.add_argument("--seed", metavar="N", type=_whole, default=1, help="seed of market and latencies (default 1)")
    simulate.add_argument("--faults", metavar="FILE", help="faults to inject (YAML or JSON)")
    simulate.add_argument("--granted", action="store_true", help="time by grants, for `run --simulator`; otherwise it runs freely")
    _json_flag(simulate)


def _run(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.run(options)


def _check(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.check(options)


def _readout(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.readout(options)


def _order(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.order(options)


def _login(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.login(options)


def _instruments(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.instruments(options)


def _fetch(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.fetch(options)


def _charges(options: argparse.Namespace) -> int:
    from runtime import charges

    return charges.command(options)


def _serve(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.serve(options)


def _vault(options: argparse.Namespace) -> int:
    from runtime import commands

    return commands.vault(options)


def _simulate(options: argparse.Namespace) -> int:
    """A program of its own: of our packages only what --data needs to be checked and normalised is imported, and nothing otherwise."""
    from simulators import server

    if options.data is not None:
        from pathlib import Path

        if not (Path(options.data) / "manifest.json").exists():
            from runtime import commands

            options.data = commands.prepared_data(options)
    return server.run(options)


def _date(text: str) -> Any:
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write it as YYYY-MM-DD") from None


def _time(text: str) -> Any:
    from datetime import time

    try:
        if len(text) != len("HH:MM"):  # neither seconds nor a zone: all times are India's
            raise ValueError
        return time.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of day; write it as HH:MM") from None


def _new_file(text: str) -> str:
    """A file to be written at the end of a long run: where it cannot be, that is said before the run."""
    from pathlib import Path

    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        why = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {why}")
    return text


def _read(read: Callable[[str], Any], fits: Callable[[Any], bool], wanted: str) -> Callable[[str], Any]:
    """A flag's value as `read` reads it, where it fits; not-a-number fits nothing."""

    def value_of(text: str) -> Any:
        try:
            value = read(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is no {wanted}")
        return value

    return value_of


_speed = _read(
    lambda text: float("inf") if text == "max" else float(text),
    lambda speed: speed > 0,
    "speed; give a number above 0 (1 = real time), or max",
)
_price = _read(float, lambda price: 0 < price < 1e9, "price; give rupees above 0")
_cost = _read(float, lambda cost: 0 <= cost < 1e6, "cost; give a number from 0 on")
_share = _read(float, lambda share: 0 < share <= 1, "share; give a number above 0, and 1 at most (0.1 is a tenth)")
_whole = _read(int, lambda number: True, "whole number")
_count = _read(int, lambda count: count >= 1, "count; give a whole number from 1 on")
_ticks = _read(int, lambda ticks: ticks >= 0, "number of ticks; give a whole number from 0 on")
_port = _read(int, lambda port: 0 <= port < 65_536, "port; give a whole number from 0 (any free one) to 65535")


if __name__ == "__main__":
    sys.exit(main())
