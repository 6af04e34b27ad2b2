"""A backtest as one HTML file that needs no network: figures, the account's worth, each instrument's price with its trades, months, trades.

Long price histories are drawn in coarser candles, never cut.
"""

import html
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import Any

import plotly.graph_objects as go

from backtesting.document import alarms_of, refusals_of
from backtesting.market import BacktestMarket
from backtesting.page import FAINT, chart, page_of
from core.types import Bar
from utils.rupees import rupees

MOST_CANDLES = 3000  # of one instrument in its chart
MOST_POINTS = 5000  # of the curve of the account's worth
MOST_CHARTS = 8  # instruments with a chart of their own, by number of trades
MOST_ROWS = 2000  # trades in the table
TICKS = 5  # days that an axis tells
_UP, _DOWN, _LINE = "#2a9d6f", "#c8553d", "#3b6fb6"


def html_of(found: Mapping[str, Any], equity: Sequence[tuple[datetime, float]], market: BacktestMarket, days: Sequence[date]) -> str:
    """The page for a document of backtesting/document.py; `equity` is the account's worth by time, `days` those that were traded."""
    by_count = [key for key, _ in Counter(trade["instrument"] for trade in found["trades"]).most_common(MOST_CHARTS)]
    bars = candles(market, by_count, days)
    parts = [
        f'<p class="what">{found["from"]} to {found["to"]}. {html.escape(_settings(found))} '
        "What was, on recorded data, says nothing of what will be.</p>",
        _figures(found),
        "<h2>The account's worth, and its fall from the best</h2>",
        chart(_equity(equity)),
    ]
    for key in by_count:
        trades = [trade for trade in found["trades"] if trade["instrument"] == key]
        parts += [f"<h2>{html.escape(key)}</h2>", chart(_price(bars[key], trades))]
    if by_count:
        parts.append('<p class="note">Triangles point up where was bought and down where was sold: entries green and red, exits blue.</p>')
    if found["rolls"] or found["settlements"]:
        parts += ["<h2>Rolls and settlements</h2>", _ends(found["rolls"], found["settlements"])]
    if len(found["metrics"]["by_strategy"]) > 1:
        parts += ["<h2>Strategies</h2>", _by_strategy(found["metrics"]["by_strategy"])]
    months = [(m, row["days"], row["trades"], rupees(row["net"])) for m, row in found["metrics"]["by_month"].items()]
    parts += ["<h2>Months</h2>", _table(("month", "days", "trades", "net"), months)]
    parts += [f"<h2>{len(found['trades'])} trades</h2>", _trades(found["trades"]), _notes(found)]
    return page_of(f"{found['strategy']} on {found['data']}", "".join(parts))


# --- charts -------------------------------------------------------------------------------------------------------------------------


def _axes(figure: go.Figure, labels: Sequence[str]) -> None:
    """Moments that follow each other without the nights between them; told are a few days."""
    places = sorted({round(number * (len(labels) - 1) / TICKS) for number in range(TICKS)} if labels else ())
    told = [f"{datetime.fromisoformat(labels[place]):%-d %b<br>%Y}" for place in places]
    figure.update_layout(showlegend=False, hovermode="x")
    figure.update_xaxes(
        type="category",
        gridcolor=FAINT,
        rangeslider_visible=False,
        tickvals=[labels[place] for place in places],
        ticktext=told,
        tickangle=0,
    )
    figure.update_yaxes(gridcolor=FAINT, tickformat=",.6~r")


def drawn(equity: Sequence[tuple[datetime, float]], most: int = MOST_POINTS) -> list[tuple[datetime, float, float]]:
    """(moment, worth, fall from the best so far) of so few points that they can be drawn: of each stretch of a longer curve its highest and
    its lowest worth, its deepest fall and its last point."""
    step, best = -(-4 * len(equity) // most) if len(equity) > most else 1, -float("inf")
    kept: list[tuple[datetime, float, float]] = []
    stretch: list[tuple[datetime, float, float]] = []
    for place, (at, worth) in enumerate(equity, 1):
        best = max(best, worth)
        stretch.append((at, worth, worth - best))
        if len(stretch) == step or place == len(equity):
            marked = {max(stretch, key=itemgetter(1)), min(stretch, key=itemgetter(1)), min(stretch, key=itemgetter(2)), stretch[-1]}
            kept += [one for one in stretch if one in marked]
            stretch.clear()
    return kept


def _equity(equity: Sequence[tuple[datetime, float]]) -> go.Figure:
    shown = drawn(equity)
    times = [f"{at:%Y-%m-%d %H:%M:%S}" for at, _, _ in shown]
    falls = [fall for _, _, fall in shown]
    figure = go.Figure()
    figure.add_scatter(x=times, y=[worth for _, worth, _ in shown], mode="lines", line={"color": _LINE, "width": 1.5}, name="worth")
    figure.add_scatter(
        x=times,
        y=falls,
        mode="lines",
        fill="tozeroy",
        line={"color": _DOWN, "width": 1},
        name="fall from the best",
        yaxis="y2",
    )
    figure.update_layout(
        xaxis={"anchor": "y2"}, yaxis={"domain": [0.32, 1], "title": "rupees"}, yaxis2={"domain": [0, 0.25], "title": "drawdown"}
    )
    _axes(figure, times)
    return figure


def _price(bars: Sequence[Bar], trades: Sequence[Mapping[str, Any]]) -> go.Figure:
    labels = [f"{bar.start:%Y-%m-%d %H:%M}" for bar in bars]
    figure = go.Figure()
    figure.add_candlestick(
        x=labels, open=[bar.open for bar in bars], high=[bar.high for bar in bars], low=[bar.low for bar in bars],
        close=[bar.close for bar in bars], increasing_line_color=_UP, decreasing_line_color=_DOWN, line_width=1, name="price",
    )  # fmt: skip
    ends = [bar.at for bar in bars]
    for name, when, price, side, color in (
        ("bought", "entry_at", "entry_price", "BUY", _UP), ("sold short", "entry_at", "entry_price", "SELL", _DOWN),
        ("sold", "exit_at", "exit_price", "BUY", _LINE), ("bought back", "exit_at", "exit_price", "SELL", _LINE),
    ):  # fmt: skip
        mine = [trade for trade in trades if trade["side"] == side]
        places = [min(bisect_right(ends, datetime.fromisoformat(trade[when])), len(bars) - 1) for trade in mine]
        symbol = "triangle-up" if name in ("bought", "bought back") else "triangle-down"
        figure.add_scatter(
            x=[labels[place] for place in places], y=[trade[price] for trade in mine], mode="markers", name=name,
            marker={"symbol": symbol, "size": 8, "color": color, "line": {"width": 1, "color": "white"}},
            text=[f"{trade['quantity']}, net {rupees(trade['net'])}" for trade in mine],
        )  # fmt: skip
    _axes(figure, labels)
    return figure


class _Candles:
    """An instrument's bars as they come, joined so that there are never more than can be drawn."""

    def __init__(self, most: int) -> None:
        self._most, self._step = most, 1
        self.drawn: list[Bar] = []
        self._in_last = 0  # bars of the data that the last one is made of

    def add(self, bar: Bar) -> None:
        if self.drawn and self._in_last < self._step:
            self.drawn[-1] = _joined(self.drawn[-1], bar)
            self._in_last += 1
            return None
        if len(self.drawn) == self._most:
            pairs = [self.drawn[place : place + 2] for place in range(0, self._most, 2)]
            self.drawn = [_joined(pair[0], pair[-1]) for pair in pairs]
            self._step *= 2
            if len(pairs[-1]) == 1:
                return self.add(bar)
        self.drawn.append(bar)
        self._in_last = 1
        return None


def _joined(one: Bar, other: Bar) -> Bar:
    return Bar(one.instrument, one.start, other.at, one.interval, one.open, max(one.high, other.high), min(one.low, other.low), other.close)


def candles(market: BacktestMarket, keys: Sequence[str], days: Sequence[date], most: int = MOST_CANDLES) -> dict[str, list[Bar]]:
    """The instruments' bars over the traded days, joined until they are few enough to draw."""
    drawn = {key: _Candles(most) for key in keys}
    for day in days if keys else ():
        for key, one in drawn.items():
            for bar in market.bars_of(key, day):
                one.add(bar)
    return {key: one.drawn for key, one in drawn.items()}


# --- tables -------------------------------------------------------------------------------------------------------------------------


def _figures(found: Mapping[str, Any]) -> str:
    metrics = found["metrics"]
    told = (
        ("net", rupees(metrics["net"])), ("gross", rupees(metrics["gross"])), ("charges", rupees(metrics["charges"])),
        ("of the capital", f"{metrics['return_pct']:.2f} %"), ("trades", metrics["trades"]), ("won", _share(metrics["win_rate"])),
        ("expectancy a trade", rupees(metrics["expectancy"])), ("profit factor", metrics["profit_factor"]),
        ("charges of gross", _share(metrics["charges_share"])), ("best day", rupees(metrics["best_day"])),
        ("worst day", rupees(metrics["worst_day"])),
        ("deepest drawdown", rupees(metrics["max_drawdown"])), ("longest drawdown", f"{metrics['max_drawdown_days']} days"),
        ("Sharpe", metrics["sharpe"]), ("Sortino", metrics["sortino"]), ("time in the market", _share(metrics["exposure"])),
        ("capital", rupees(found["capital"])), ("most of it used, as margin", rupees(metrics["capital_used"])),
        ("on the margin used", "-" if metrics["return_on_used_pct"] is None else f"{metrics['return_on_used_pct']:.2f} %"),
    )  # fmt: skip
    cells = "".join(f"<div><b>{html.escape('-' if value is None else str(value))}</b><span>{name}</span></div>" for name, value in told)
    return f'<div class="figures">{cells}</div><p class="note">{html.escape(metrics["conventions"])}</p>'


def _settings(found: Mapping[str, Any]) -> str:
    """What was run, and by which rules: parameters, fills, costs."""
    params = found["params"] if len(found["class"]) > 1 else {found["strategy"]: found["params"]}
    told = [
        f"{found['class'][name]}: " + ", ".join(f"{one} {str(value).lower()}" for one, value in own.items()) for name, own in params.items()
    ]
    costs = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found["fills"].items() if value)
    return f"{'; '.join(told)}. Fills at the {found['fill_rule']}{f' ({costs})' if costs else ''}. Charges of {found['broker']}."


def _by_strategy(rows: Mapping[str, Mapping[str, Any]]) -> str:
    names = ("strategy", "trades", "won", "gross", "charges", "net", "expectancy", "profit factor")
    return _table(
        names,
        [
            (
                name, row["trades"], _share(row["win_rate"]), rupees(row["gross"]), rupees(row["charges"]), rupees(row["net"]),
                rupees(row["expectancy"]), row["profit_factor"] if row["profit_factor"] is not None else "-",
            )
            for name, row in rows.items()
        ],
    )  # fmt: skip


def _trades(trades: Sequence[Mapping[str, Any]]) -> str:
    """Everything of a trade in the page's width: the day of its end only where it is another, the strategy only where there are several."""
    several = len({trade["strategy"] for trade in trades}) > 1
    names = ("in", "out", *(("strategy",) if several else ()), "instrument", "side", "quantity", "entry", "exit", "gross", "charges", "net")
    rows = []
    for trade in trades[-MOST_ROWS:]:
        begun, ended = trade["entry_at"][:19].replace("T", " "), trade["exit_at"][:19].replace("T", " ")
        out = ended[11:] if ended[:10] == begun[:10] else ended
        rows.append(
            (
                begun.removesuffix(":00"), out.removesuffix(":00"), *((trade["strategy"],) if several else ()), trade["instrument"],
                trade["side"], trade["quantity"], f"{trade['entry_price']:.2f}", f"{trade['exit_price']:.2f}",
                rupees(trade["gross"]), rupees(trade["charges"]), rupees(trade["net"]),
            )
        )  # fmt: skip
    more = f'<p class="note">The last {MOST_ROWS} of them; --csv FILE writes all.</p>' if len(trades) > MOST_ROWS else ""
    return more + _table(names, rows)


def _ends(rolls: Sequence[Mapping[str, Any]], settlements: Sequence[Mapping[str, Any]]) -> str:
    """What became of contracts that ended. A roll's cost is what its fills were worse than the gap; charges are among the trades'."""
    rows: list[Sequence[object]] = [
        (
            f"{one['at'][:16].replace('T', ' ')}", one["strategy"], one["kind"].replace("_", " "), one["old"], one["new"],
            *(one.get(name, "-") for name in ("quantity", "closed_at", "opened_at", "gap")), rupees(one.get("cost")),
        )
        for one in rolls
    ] + [
        (f"{one['at'][:16].replace('T', ' ')}", one["strategy"], "settled", one["instrument"], "", one["quantity"], one["price"], "", "",
         rupees(one["charges"]))
        for one in settlements
    ]  # fmt: skip
    return _table(
        ("at", "strategy", "what", "old", "new", "quantity", "closed at", "opened at", "gap", "cost"),
        sorted(rows, key=lambda row: str(row[0])),
    )


def _notes(found: Mapping[str, Any]) -> str:
    notes = [f"assumed: {one}" for one in found["assumed"]] + list(found["notes"])
    notes += refusals_of(found)
    notes += [f"still held at the end: {quantity} {key}" for key, quantity in found["open"].items()]
    notes += alarms_of(found)
    notes.append(f"digest {found['digest']}")
    return "<h2>Notes</h2>" + "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
