"""The `charges` command: what a trade costs at a broker on a date, line by line, with each rate's date, source and status."""

import argparse
import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from core.clock import SystemClock
from core.errors import ConfigError, DataError
from core.types import Horizon, Instrument, Kind, Side
from execution_engine.charge_lines import NAMES, ROUNDING, Explained, explain
from execution_engine.charges import Charges
from utils.config_loader import environment

KINDS = {"equity": Kind.EQUITY, "future": Kind.FUTURE, "option": Kind.CALL}
_DERIVATIVES = {"NSE": "NFO", "BSE": "BFO"}  # where an exchange trades its futures and options
_FUTURE = re.compile(r"^([A-Z&-]+?)\d\d[A-Z]{3}FUT$")
_OPTION = re.compile(r"^([A-Z&-]+?(?:NXT50)?)\d\d.*\d(CE|PE)$")


def command(options: argparse.Namespace) -> int:
    """Show what was asked for; exit 0."""
    found = document(options, Path(options.state or environment("NIYAM_STATE") or "var"))
    if options.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    else:
        _show(found)
    return 0


def document(options: argparse.Namespace, state: Path) -> dict[str, Any]:
    """The trade explained, as `charges --json` gives it; ConfigError for what was asked wrongly and for rates that nobody knows."""
    from utils.config_loader import load_charges

    facts = load_charges(Path(options.config))
    day = options.on or SystemClock().now().date()
    instrument = _instrument(options, state, day)
    horizon = Horizon.CARRY if options.product == "carry" else Horizon.INTRADAY
    orders = _orders(options)
    try:
        found = explain(Charges(facts, options.broker, options.plan), instrument, horizon, orders, day)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return {
        "broker": options.broker,
        "plan": options.plan,
        "instrument": instrument.key,
        "kind": str(instrument.kind),
        "product": options.product,
        "on": day.isoformat(),
        "as_of": str(facts["as_of"]),
        "orders": [{"side": str(side), "quantity": quantity, "price": price} for side, quantity, price in orders],
        "lines": [msgspec.to_builtins(line) for line in found.lines],
        "totals": _parts(found.orders),
        "contract_note": _parts(found.note),
        "depository": found.depository,
        "total": found.orders.total + (found.depository or 0.0),
        "gross": found.gross,
        "net": None if found.gross is None else found.gross - found.orders.total - (found.depository or 0.0),
        "rounding": ROUNDING,
        "sources": _sources(found, facts["sources"]),
    }


def _orders(options: argparse.Namespace) -> list[tuple[Side, int, float]]:
    both = (options.buy_price, options.sell_price)
    if options.quantity is None:
        raise ConfigError("--quantity is missing: the units that are traded, not lots")
    if any(price is not None for price in both):
        if None in both or options.side is not None or options.price is not None:
            raise ConfigError("a round trip wants --buy-price and --sell-price, and neither --side nor --price")
        return [(Side.BUY, options.quantity, options.buy_price), (Side.SELL, options.quantity, options.sell_price)]
    if options.side is None or options.price is None:
        raise ConfigError("one order wants --side and --price; a round trip --buy-price and --sell-price")
    return [(Side(options.side), options.quantity, options.price)]


def _instrument(options: argparse.Namespace, state: Path, day: date) -> Instrument:
    if (options.instrument is None) == (options.kind is None):
        raise ConfigError("say what is traded: --instrument KEY (NFO:NIFTY26NOVFUT, NSE:SBIN, NIFTY_FUT), or --kind with --exchange")
    if options.kind is not None:
        kind, exchange = KINDS[options.kind], (options.exchange or "NSE").upper()
        exchange = exchange if kind is Kind.EQUITY else _DERIVATIVES.get(exchange, exchange)
        if kind is Kind.EQUITY and exchange not in _DERIVATIVES:
            raise ConfigError(f"no shares trade on {exchange}: --kind equity wants --exchange NSE or BSE")
        root = (options.underlying or {"NFO": "NIFTY", "BFO": "SENSEX"}.get(exchange, "ANY")).upper()
        return _made(options, f"{exchange}:{root} {options.kind}", exchange, kind, root, day)
    if ":" in options.instrument:
        exchange, _, symbol = options.instrument.upper().partition(":")
        if future := _FUTURE.match(symbol):
            return _made(options, options.instrument.upper(), exchange, Kind.FUTURE, future[1], day)
        if option := _OPTION.match(symbol):
            return _made(options, options.instrument.upper(), exchange, Kind(option[2]), option[1], day)
        if exchange in ("NSE", "BSE"):
            return _made(options, options.instrument.upper(), exchange, Kind.EQUITY, symbol, day)
        raise ConfigError(f"{options.instrument}: no future, option or share by its name; give --kind and --exchange")
    from runtime.instruments import resolve

    found = resolve(Path(options.config), state, options.broker, options.instrument, day)
    if found["kind"] == Kind.INDEX:
        raise ConfigError(f"{found['key']} is an index: it cannot be traded, so it has no charges; name its future or option")
    return _made(options, found["key"], found["exchange"], Kind(found["kind"]), found["underlying"], day, found["lot"])


def _made(options: argparse.Namespace, key: str, exchange: str, kind: Kind, root: str, day: date, lot: int | None = None) -> Instrument:
    """An instrument that has what charges depend on. Without a lot only plans that charge by the lot are refused."""
    from utils.config_loader import load_calendar

    lot = options.lot or lot
    if lot is None and kind in (Kind.FUTURE, Kind.CALL, Kind.PUT):
        contracts = load_calendar(Path(options.config)).contracts
        try:
            lot = contracts.lot(root, contracts.future_expiry(root, day), exchange=exchange) if root in contracts.index_roots else None
        except DataError:
            lot = None
    return Instrument(key, exchange, key.partition(":")[2], kind, root, lot or 1, multiplier=options.multiplier)


def _parts(breakdown: Any) -> dict[str, Any]:
    return {name: getattr(breakdown, name) for name in (*NAMES, "total", "assumed")}


def _sources(found: Explained, titles: Any) -> dict[str, str]:
    keys = sorted({key for line in found.lines for key in line.source})
    return {key: str(titles[key]["title"]) if key in titles else "" for key in keys}


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100)
    trade = "; ".join(f"{one['side']} {one['quantity']} at {one['price']:g}" for one in found["orders"])
    plan = f" ({found['plan']})" if found["plan"] else ""
    console.print(f"{found['broker']}{plan}, {found['instrument']}, {found['product']}, {found['on']}: {trade}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("side", "left"), ("charge", "left"), ("of", "right"), ("rate", "left"), ("rupees", "right"),
                          ("since", "left"), ("source", "left"), ("status", "left")):  # fmt: skip
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]  # rich's Literal
    for line in found["lines"]:
        table.add_row(
            line["side"], line["name"], f"{line['basis']:.2f}", line["rate"], f"{line['amount']:.4f}",
            line["since"], " ".join(line["source"]), line["status"],
        )  # fmt: skip
    console.print(table, highlight=False)
    _sums(console, found)


def _sums(console: Any, found: dict[str, Any]) -> None:
    note = found["contract_note"]
    console.print(f"charges {found['totals']['total']:.2f}, as a contract note {note['total']:.2f}", highlight=False)
    if found["depository"] is None:
        console.print("depository charge: not known for this broker and day, not included", style="yellow", highlight=False)
    elif found["depository"]:
        console.print(f"depository {found['depository']:.2f} (once a day and share), in all {found['total']:.2f}", highlight=False)
    if found["gross"] is not None:
        console.print(f"gross {found['gross']:.2f}, net {found['net']:.2f}", highlight=False)
    console.print(f"rounding: {found['rounding']}", style="dim", highlight=False)
    notes = {f"{line['name']}: {line['note']}" for line in found["lines"] if line["note"]}
    for text in (*sorted(notes), *(f"{key}: {title}" for key, title in found["sources"].items())):
        console.print(text, style="dim", highlight=False)
