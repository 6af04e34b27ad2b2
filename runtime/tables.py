"""Read-outs for people: tables that fit 100 columns, with rupees grouped the Indian way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from utils.rupees import rupees

WIDTH = 100
JOURNAL_LINES = 60
NAME_WIDTH = 16  # a longer name of a strategy takes two lines where the table is full
RIGHT = {"quantity", "filled", "price", "limit", "average", "last", "charges", "realised", "unrealised", "seq", "target", "stop"}
GAPS_SHOWN = 6  # runs of missing bars in one line

Row = Mapping[str, Any]


def show(name: str, data: Any, console: Console | None = None) -> None:
    """Print the read-out `name`; `data` is its `--json` document."""
    console = console or Console(width=WIDTH)
    if isinstance(data, list) and not data:
        console.print(f"no {name}", style="dim")
        return
    views: Mapping[str, Callable[[Any], RenderableType]] = {
        "status": status_table,
        "strategies": strategies_table,
        "orders": orders_table,
        "fills": fills_table,
        "positions": positions_table,
        "signals": signals_table,
        "journal": journal_table,
        "report": report_table,
        "usage": usage_table,
        "check": check_table,
        "instruments": instruments_table,
        "fetch": fetch_table,
    }
    console.print(views[name](data))


def number(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def price(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) and value else "-"


def _unused(counts: Row) -> str:
    """What of the feed was lost or set aside, where anything was; ticks before the open and after the close belong to every day."""
    reasons = {**(counts.get("wire") or {}), **(counts.get("quarantined") or {})}
    reasons |= {name.replace("_", " "): counts.get(name) for name in ("late_ticks", "dropped_ticks", "unrecorded_frames")}
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)


def status_table(status: Row) -> Table:
    market, feed, pnl = status.get("market") or {}, status.get("feed") or {}, status.get("pnl") or {}
    running = "running" if status.get("running") else f"not running (as of {_when(status.get('as_of'))})"
    stale = ", ".join(map(str, feed.get("stale") or ())) or "nothing stale"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("account", f"{status.get('account')} ({status.get('kind')}), {running}")
    table.add_row(
        "trading", f"{status.get('trading_state')}, session {status.get('session')}, {'flat' if status.get('flat') else 'NOT flat'}"
    )
    table.add_row("market", f"{market.get('phase')} at {_when(market.get('now'))}, square-off {_moment(market.get('square_off_at'))}")
    if market.get("data"):
        table.add_row("prices", str(market["data"]))
    age = feed.get("age_s")
    heard = "no tick yet" if age is None else f"last tick {age:.0f} s ago"
    table.add_row("feed", f"{'connected' if feed.get('connected') else 'DOWN'}, {heard}, {stale}")
    ledger = feed.get("subscriptions") or {}
    if ledger.get("waiting") and status.get("running"):  # a feed that was stopped waits for nothing
        table.add_row(
            "subscriptions", f"{ledger['confirmed']} of {ledger['desired']} have ticked; waiting: {', '.join(ledger['waiting'][:5])}"
        )
    if unused := _unused(feed.get("counts") or {}):
        table.add_row("ticks left out", unused)
    table.add_row("orders", ", ".join(f"{count} {state}" for state, count in sorted((status.get("orders") or {}).items())) or "none")
    table.add_row("P&L", ", ".join(f"{name} {rupees(pnl.get(name))}" for name in ("realised", "unrealised", "charges", "net")))
    for alert in status.get("alerts") or ():
        table.add_row("alert", Text(_alert(alert) if isinstance(alert, Mapping) else str(alert), style="yellow"))
    others = [row for row in status.get("accounts") or () if row.get("account") != status.get("account")]
    for row in others:
        net = rupees((row.get("pnl") or {}).get("net"))
        held = "flat" if row.get("flat") else "NOT flat"
        ended = "DOWN" if status.get("running") else "not running"  # beside others that go on, or with all of them
        state = row.get("trading_state") if row.get("running", True) else ended
        what = f"{row.get('account')} ({row.get('kind')}, {row.get('broker')})"
        table.add_row("also", f"{what}: {state}, session {row.get('session')}, {held}, net {net}")
    return table


def strategies_table(rows: Sequence[Row]) -> Table:
    table = _table("strategy", "state", "instruments", "bars", "holds", "trades", "net", "why")
    for row in rows:
        holds = ", ".join(f"{quantity} {_symbol(key)}" for key, quantity in (row.get("position") or {}).items())
        table.add_row(
            _folded(row.get("name")),
            str(row.get("state")),
            " ".join(row.get("instruments") or ()),
            str(row.get("interval")),
            holds or "-",
            number(row.get("trades")),
            rupees(row.get("pnl")),
            str(row.get("why") or ""),
        )
    return table


def orders_table(rows: Sequence[Row], *, short: bool = False) -> RenderableType:
    """An order a line; below it, unless `short`, whose it is, why it was given or refused, and its tag."""
    names = ("time", *(["strategy"] if short else []), "instrument", "side", "filled", "limit", "average", "state")
    lines = [
        (
            _moment(row.get("updated_at")),
            *([_folded(row.get("strategy"))] if short else []),
            _symbol(row.get("instrument")),
            str(row.get("side")),
            f"{row.get('filled')}/{row.get('quantity')}",
            price(row.get("limit_price")),
            price(row.get("average_price")),
            str(row.get("state")),
        )
        for row in rows
    ]
    if short:
        table = _table(*names)
        for line in lines:
            table.add_row(*line)
        return table
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]

    def aligned(cells: Sequence[str]) -> str:
        placed = zip(names, cells, widths, strict=True)
        return "  ".join(cell.rjust(width) if name in RIGHT else cell.ljust(width) for name, cell, width in placed)

    shown: list[RenderableType] = [Text(aligned(names), style="dim")]
    for row, line in zip(rows, lines, strict=True):
        shown += [Text(aligned(line)), Padding(Text(_about_order(row), style="dim"), (0, 0, 0, widths[0] + 2))]
    return Group(*shown)


def _about_order(row: Row) -> str:
    whose = " ".join(str(row[name]) for name in ("strategy", "purpose") if row.get(name))
    trigger = f"trigger {price(row['trigger_price'])}" if row.get("trigger_price") else ""
    tag = f"tag {row['tag']}" if row.get("tag") else ""
    return "; ".join(part for part in (f"{whose}: {row['reason']}" if row.get("reason") else whose, trigger, tag) if part)


def fills_table(rows: Sequence[Row]) -> Table:
    table = _table("time", "strategy", "instrument", "side", "quantity", "price", "charges", "trade id")
    for row in rows:
        cells = [
            _moment(row.get("at")),
            _folded(row.get("strategy")),
            _symbol(row.get("instrument")),
            row.get("side"),
            number(row.get("quantity")),
        ]
        table.add_row(*(str(cell) for cell in cells), price(row.get("price")), rupees(row.get("charges")), str(row.get("id")))
    return table


def positions_table(rows: Sequence[Row]) -> Table:
    table = _table("strategy", "instrument", "product", "quantity", "average", "last", "realised", "unrealised")
    for row in rows:
        table.add_row(
            _folded(row.get("strategy")),
            _symbol(row.get("instrument")),
            str(row.get("product")),
            number(row.get("quantity")),
            price(row.get("average_price")),
            price(row.get("last_price")),
            rupees(row.get("realised")),
            rupees(row.get("unrealised")),
        )
    return table


def signals_table(rows: Sequence[Row]) -> Table:
    table = _table("time", "strategy", "instrument", "target", "stop", "why")
    for row in rows:
        cells = [
            _moment(row.get("at")),
            row.get("strategy"),
            _symbol(row.get("instrument")),
            number(row.get("target")),
            price(row.get("stop")),
        ]
        table.add_row(*(str(cell) for cell in cells), str(row.get("why") or ""))
    return table


def journal_table(rows: Sequence[Row]) -> Table:
    table = _table("seq", "time", "kind", "what")
    if len(rows) > JOURNAL_LINES:
        table.caption = f"the last {JOURNAL_LINES} of {len(rows)} entries; --json has all"
    for row in rows[-JOURNAL_LINES:]:
        rest = {name: value for name, value in row.items() if name not in ("seq", "at", "kind")}
        table.add_row(str(row.get("seq")), _moment(row.get("at")), str(row.get("kind")), _line(rest))
    return table


def report_table(report: Row) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    period = report.get("day") or f"{report.get('from')} to {report.get('to')}"
    table.add_row("report", f"{period}, account {report.get('account')}")
    if report.get("data"):
        table.add_row("prices", str(report["data"]))
    table.add_row("trades", number(report.get("trades")))
    table.add_row("P&L", ", ".join(f"{name} {rupees(report.get(name))}" for name in ("gross", "charges", "net")))
    table.add_row("drawdown", f"{rupees(report.get('max_drawdown'))} at most")
    for name, part in (report.get("by_strategy") or {}).items():
        table.add_row(name, f"{_trades(part)}, gross {rupees(part.get('gross'))}, net {rupees(part.get('net'))}")
    for day in report.get("days") or ():
        table.add_row(str(day.get("day")), f"{_trades(day)}, net {rupees(day.get('net'))}, flat {_moment(day.get('flat_at'))}")
    if "square_off" in report:
        parts = ", ".join(f"{name} {_moment(at)}" for name, at in report["square_off"].items())
        table.add_row("square-off", parts)
        table.add_row("flat at", _moment(report.get("flat_at")))
        table.add_row("digest", str(report.get("digest")))
        if not report.get("trades") and not report.get("data") and not any(report["square_off"].values()):
            table.add_row("note", "nothing ran on this day")
    if report.get("assumed"):
        table.add_row("assumed", ", ".join(map(str, report["assumed"])))
    for day in report.get("beside_backtest") or ():
        table.add_row(f"backtest of {day['day']}", _beside(day))
    gate = report.get("go_live_gate")
    if gate:
        table.add_row("go-live gate", "met" if gate.get("met") else "NOT met: " + "; ".join(gate.get("reasons") or ()))
    return table


def _beside(day: Row) -> str:
    """One day's own figures against its backtest's."""
    again, fills = day["backtest"], day["fills"]
    if again is None:
        return "; ".join(day["notes"])
    told = f"{_trades(again)}, gross {rupees(again['gross'])}, charges {rupees(again['charges'])}, net {rupees(again['net'])}: "
    if fills["same"]:
        told += f"the same {fills['traded']} fills"
    else:
        mean = (
            ""
            if fills["ticks_mean"] is None
            else f", prices {fills['ticks_mean']:+g} ticks in the mean, {fills['ticks_worst']:+g} at worst"
        )
        told += f"{fills['traded']} fills against {fills['backtest']}, {fills['paired']} paired{mean}"
    return "; ".join([told, *day["notes"]])


def usage_table(usage: Row) -> RenderableType:
    """Two tables: the calls, and the limits with the most that was used of each at a time."""
    head = f"{usage['day']}, account {usage['account']} at {usage['broker']}"
    calls = _table("lane", "kind", "sent", "refused", "waited")
    for row in usage["calls"]:
        calls.add_row(row["lane"], row["kind"], str(row["sent"]), str(row["refused"]), f"{row['waited_s']:.1f} s")
    limits = _table("of the broker's", "allowed", "peak", "share")
    for row in usage["limits"]:
        limits.add_row(row["limit"], f"{row['count']} in {row['seconds']:g} s", str(row["peak"]), f"{row['peak_pct']:.0f} %")
    return Group(head, calls, Text(), limits)


def check_table(result: Row) -> Table:
    styles = {"ok": "green", "note": "cyan", "wrong": "bold red"}
    table = _table("check", "", "found", "what to do")
    for row in result["checks"]:
        status = str(row["status"])
        table.add_row(str(row["name"]), Text(status, style=styles[status]), str(row["text"]), str(row["remedy"]))
    return table


def fetch_table(data: Row) -> RenderableType:
    """One fetched series with what it lacks, or the series of an import."""
    if "rolls" in data:
        return rolls_table(data)
    if "series" in data:
        return Group(*(_candles({**data, **row}) for row in data["series"]))
    return _candles(data)


def _candles(data: Row) -> RenderableType:
    report, counts = data["report"], data["report"]["counts"]
    head = Table.grid(padding=(0, 2))
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    head.add_row("candles", f"{data['instrument']} {data['interval']}, source {data['source']}")
    head.add_row("range", f"{str(data['from'])[:10]} to before {_when(data['to'])}")
    fetched = f"{number(data['fetched'])} new by {data['requests']} requests" if "fetched" in data else f"{number(data['added'])} new"
    head.add_row("stored", f"{number(report['bars'] - counts['outside'])} of {number(report['expected'])} bars that are due; {fetched}")
    missing = f"{number(report['missing'])} bars missing on {counts['gap_days']} days, {counts['missing_days']} of them whole days"
    head.add_row("gaps", Text("none", style="green") if report["whole"] else Text(missing, style="bold red"))
    for name in ("outside", "outliers", "zero_volume"):
        if counts[name]:
            first = f", the first {_when(report[name][0]['at'])}: {report[name][0]['what']}" if name in report else ""
            head.add_row(name.replace("_", " "), f"{number(counts[name])}{first}")
    if report["foreign_days"]:
        head.add_row("foreign prices", Text(", ".join(report["foreign_days"]), style="bold red"))
    for note in report["notes"]:
        head.add_row("note", Text(note, style="yellow"))
    if data.get("out"):
        head.add_row("written", str(data["out"]))
    if not report["gaps"]:
        return head
    gaps = _table("day", "bars", "due", "missing")
    for gap in report["gaps"]:
        shown = ", ".join(gap["missing"][:GAPS_SHOWN]) + (
            f" and {len(gap['missing']) - GAPS_SHOWN} more" if len(gap["missing"]) > GAPS_SHOWN else ""
        )
        gaps.add_row(gap["day"], str(gap["found"]), str(gap["expected"]), shown if gap["found"] else "the whole day")
    if counts["gap_days"] > len(report["gaps"]):
        gaps.caption = f"the first {len(report['gaps'])} of {counts['gap_days']} days"
    return Group(head, gaps)


def instruments_table(data: Row | Sequence[Row]) -> RenderableType:
    """Snapshots, one instrument, or a future's rolls."""
    if isinstance(data, Mapping) and "segments" in data:
        return dump_table(data)
    if isinstance(data, Mapping) and "not_joined" in data:
        return joins_table(data)
    if isinstance(data, Mapping) and "rolls" in data:
        return rolls_table(data)
    if isinstance(data, Mapping) and data.get("kind") not in (None, "EQ"):  # whether a share has futures is told of shares alone
        data = {name: value for name, value in data.items() if name != "is_fno"}
    return plain_table(data)


def joins_table(data: Row) -> RenderableType:
    """Which contracts of two brokers' dumps are one, and why the others are not."""
    ours, theirs, same = data["ours"], data["theirs"], data["same_number"]
    head = {
        one["broker"]: f"{one['contracts']:,} contracts of {', '.join(data['exchanges'])}, dump of {one['day']}" for one in (ours, theirs)
    }
    head["joined"] = f"{data['joined']:,} by identity, {data['under_another_key']:,} of them under another key"
    share = f" ({same['joined'] / same['contracts']:.2%})" if same["contracts"] else ""
    head["both list"] = f"{same['contracts']:,} by the exchange's number, {same['joined']:,} of them joined{share}"
    table = _table("not joined", "contracts", "such as")
    for what, one in [*same["apart"].items(), *data["not_joined"].items()]:
        table.add_row(what, f"{one['count']:,}", ", ".join(one["examples"]))
    return Group(plain_table(head), table)


def dump_table(data: Row) -> RenderableType:
    """A broker's dump: what it holds by exchange and kind, what is left out, what changed."""
    left_out = ", ".join(f"{count} {reason}" for reason, count in data["left_out"].items()) or "nothing"
    head = {"dump": f"{data['file']} ({data['broker']}, {data['day']})", "taken": f"{data['instruments']:,} rows", "left out": left_out}
    head |= {what: f"{one['count']:,}: {', '.join(one['examples'])}" for what, one in data["changes"].items()}
    head |= {f"alarm {number}": text for number, text in enumerate(data["alarms"], 1)}
    table = _table("exchange", "kind", "rows", "underlyings", "lots", "ticks", "expiries", "first", "last")
    for row in data["segments"]:
        lots, ticks = f"{row['lot_min']}-{row['lot_max']}", f"{row['tick_min']:g}-{row['tick_max']:g}"
        span = (str(row["expiries"] or "-"), row["first"] or "-", row["last"] or "-")
        table.add_row(row["exchange"], row["kind"], f"{row['rows']:,}", str(row["underlyings"]), lots, ticks, *span)
    return Group(plain_table(head), table)


def rolls_table(data: Row) -> RenderableType:
    """The rolls of a future's name, and what the series stitched by them is."""
    table = _table("roll day", "from", "to", "by", "price", "new price", "gap", "ratio")
    for row in data["rolls"]:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.6f}"
        gap = "-" if row["gap"] is None else f"{row['gap']:.2f}"
        table.add_row(row["day"], row["old"], row["new"], row["by"], price(row["old_price"]), price(row["new_price"]), gap, ratio)
    return Group(plain_table({name: value for name, value in data.items() if name not in ("rolls", "without_prices")}), table)


def plain_table(data: Row | Sequence[Row]) -> Table:
    """A record as lines of name and value, or records as rows."""
    if isinstance(data, Mapping):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        for name, value in data.items():
            grid.add_row(str(name), _plain(value))
        return grid
    table = _table(*data[0])
    for row in data:
        table.add_row(*map(_plain, row.values()))
    return table


def _plain(value: object) -> str:
    """What there is none of is a dash, as in the other tables."""
    return {None: "-", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        narrow = column in RIGHT or column in ("time", "side", "state", "instrument")
        table.add_column(column, justify="right" if column in RIGHT else "left", no_wrap=narrow, overflow="fold")
    return table


def _symbol(key: object) -> str:
    return str(key).partition(":")[2] or str(key)


def _folded(name: object) -> str:
    """A long strategy's name on two lines, broken after the underscore nearest its middle."""
    text = str(name)
    breaks = [at + 1 for at, letter in enumerate(text) if letter == "_"]
    if len(text) <= NAME_WIDTH or not breaks:
        return text
    middle = min(breaks, key=lambda at: abs(at - len(text) / 2))
    return f"{text[:middle]}\n{text[middle:]}"


def _trades(part: Row) -> str:
    return f"{part.get('trades')} trade{'' if part.get('trades') == 1 else 's'}"


def _alert(alert: Row) -> str:
    return f"{_when(alert.get('at'))} {alert.get('level')}: {alert.get('title')}: {alert.get('text')}"


def _moment(at: object) -> str:
    """The clock time of an ISO moment, to the second; the journal and `--json` have the rest."""
    text = str(at or "")
    return text[11:19] if len(text) >= 19 else text or "-"


def _when(at: object) -> str:
    """Day and clock time."""
    return str(at)[:19].replace("T", " ") if at else "-"


def _line(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items() if value not in (None, "", [], {}))
