"""A backtest as one HTML file that needs no network: figures, the account's worth, each instrument's price with its trades, months, trades.

The charting library's own script is written into the file. Long price histories are drawn in coarser candles, never cut.
"""

import html
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from backtesting.market import BacktestMarket
from core.types import Bar

MOST_CANDLES = 3000  # of one instrument in its chart
MOST_POINTS = 5000  # of the curve of the account's worth
MOST_CHARTS = 8  # instruments with a chart of their own, by number of trades
_UP, _DOWN, _LINE = "#2a9d6f", "#c8553d", "#3b6fb6"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #ffffff; --faint: #6b7280; --rule: #e3e6ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171b; --faint: #9aa3af; --rule: #2a2f36; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1200px; padding: 1.5rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.what { color: var(--faint); margin: 0 0 1rem } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .45rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .5rem }
.figures div { border: 1px solid var(--rule); border-radius: .4rem; padding: .5rem .75rem }
.figures b { display: block; font-size: 1.15rem }
.figures span { color: var(--faint); font-size: .85rem } .scroll { overflow-x: auto; max-height: 32rem } .note { color: var(--faint) }
"""


def html_of(found: Mapping[str, Any], equity: Sequence[tuple[datetime, float]], market: BacktestMarket, days: Sequence[date]) -> str:
    """The page for a document of backtesting/document.py; `equity` is the account's worth by time, `days` those that were traded."""
    by_count = sorted(
        {trade["instrument"] for trade in found["trades"]}, key=lambda key: -sum(t["instrument"] == key for t in found["trades"])
    )
    figures = [_equity(equity)]
    charts = [_chart(figures[0])]
    for key in by_count[:MOST_CHARTS]:
        trades = [trade for trade in found["trades"] if trade["instrument"] == key]
        charts.append(f"<h2>{html.escape(key)}</h2>" + _chart(_price(candles(market, key, days), trades)))
    title = f"{found['strategy']} on {found['data']}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="what">{found["from"]} to {found["to"]}, {html.escape(str(found["fill_rule"]))}. '
        "What was, on recorded data, says nothing of what will be.</p>",
        _figures(found),
        "<h2>The account's worth, and its fall from the best</h2>",
        *charts,
        "<h2>Months</h2>",
        _table(
            ("month", "days", "trades", "net"),
            [(m, row["days"], row["trades"], _money(row["net"])) for m, row in found["metrics"]["by_month"].items()],
        ),
        f"<h2>{len(found['trades'])} trades</h2>",
        _trades(found["trades"]),
        _notes(found),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
    script = f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script>"
    return f"<!doctype html><html lang=en><head>{head}{script}</head><body>{''.join(parts)}</body></html>\n"


# --- charts -------------------------------------------------------------------------------------------------------------------------


def _chart(figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white", margin={"l": 60, "r": 20, "t": 10, "b": 40}, height=420, showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": "#7a828e"}, hovermode="x",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#b6bcc6", "activecolor": "#3b6fb6"},
    )  # fmt: skip
    figure.update_xaxes(gridcolor="rgba(128,128,128,.15)", rangeslider_visible=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.15)")
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return text


def _equity(equity: Sequence[tuple[datetime, float]]) -> go.Figure:
    step = max(1, len(equity) // MOST_POINTS)
    shown = [*equity[:-1:step], *equity[-1:]]
    best, falls = -float("inf"), list[float]()
    for _, worth in shown:
        best = max(best, worth)
        falls.append(worth - best)
    times = [f"{at:%Y-%m-%d %H:%M:%S}" for at, _ in shown]
    figure = go.Figure()
    figure.add_scatter(x=times, y=[worth for _, worth in shown], mode="lines", line={"color": _LINE, "width": 1.5}, name="worth")
    figure.add_scatter(
        x=times, y=falls, mode="lines", fill="tozeroy", line={"color": _DOWN, "width": 1}, name="fall from the best", yaxis="y2"
    )
    figure.update_layout(yaxis={"domain": [0.32, 1], "title": "rupees"}, yaxis2={"domain": [0, 0.25], "title": "drawdown"})
    figure.update_xaxes(type="category", nticks=8)
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
            marker={"symbol": symbol, "size": 10, "color": color, "line": {"width": 1, "color": "white"}},
            text=[f"{trade['quantity']}, net {_money(trade['net'])}" for trade in mine],
        )  # fmt: skip
    figure.update_xaxes(type="category", nticks=8)
    return figure


def candles(market: BacktestMarket, key: str, days: Sequence[date], most: int = MOST_CANDLES) -> list[Bar]:
    """The instrument's bars over the traded days, joined until they are few enough to draw."""
    bars = [bar for day in days for bar in market.bars_of(key, day)]
    step = -(-len(bars) // most)
    if step <= 1:
        return bars
    drawn = []
    for first in range(0, len(bars), step):
        group = bars[first : first + step]
        high, low, last = max(bar.high for bar in group), min(bar.low for bar in group), group[-1]
        drawn.append(Bar(last.instrument, group[0].start, last.at, last.interval, group[0].open, high, low, last.close))
    return drawn


# --- tables -------------------------------------------------------------------------------------------------------------------------


def _figures(found: Mapping[str, Any]) -> str:
    metrics = found["metrics"]
    told = (
        ("net", _money(metrics["net"])), ("gross", _money(metrics["gross"])), ("charges", _money(metrics["charges"])),
        ("of the capital", f"{metrics['return_pct']:.2f} %"), ("trades", metrics["trades"]), ("won", _share(metrics["win_rate"])),
        ("expectancy a trade", _money(metrics["expectancy"])), ("profit factor", metrics["profit_factor"]),
        ("deepest drawdown", _money(metrics["max_drawdown"])), ("longest drawdown", f"{metrics['max_drawdown_days']} days"),
        ("Sharpe", metrics["sharpe"]), ("Sortino", metrics["sortino"]), ("time in the market", _share(metrics["exposure"])),
        ("capital", _money(found["capital"])),
    )  # fmt: skip
    cells = "".join(f"<div><b>{html.escape('-' if value is None else str(value))}</b><span>{name}</span></div>" for name, value in told)
    return f'<div class="figures">{cells}</div><p class="note">{html.escape(metrics["conventions"])}</p>'


def _trades(trades: Sequence[Mapping[str, Any]]) -> str:
    """Everything of a trade in the page's width: the day of its end only where it is another, the strategy only where there are several."""
    several = len({trade["strategy"] for trade in trades}) > 1
    names = ("in", "out", *(("strategy",) if several else ()), "instrument", "side", "quantity", "entry", "exit", "gross", "charges", "net")
    rows = []
    for trade in trades:
        begun, ended = trade["entry_at"][:19].replace("T", " "), trade["exit_at"][:19].replace("T", " ")
        out = ended[11:] if ended[:10] == begun[:10] else ended
        rows.append(
            (
                begun.removesuffix(":00"), out.removesuffix(":00"), *((trade["strategy"],) if several else ()), trade["instrument"],
                trade["side"], trade["quantity"], f"{trade['entry_price']:.2f}", f"{trade['exit_price']:.2f}",
                _money(trade["gross"]), _money(trade["charges"]), _money(trade["net"]),
            )
        )  # fmt: skip
    return _table(names, rows)


def _notes(found: Mapping[str, Any]) -> str:
    notes = [f"assumed: {one}" for one in found["assumed"]] + list(found["notes"])
    notes += [f"refused by {rule}: {count} times" for rule, count in found["refusals"].items()]
    notes += [f"still held at the end: {quantity} {key}" for key, quantity in found["open"].items()]
    notes.append(f"digest {found['digest']}")
    return "<h2>Notes</h2>" + "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
