"""The picture of one instrument: its bars, what strategies' indicators said of them, volume, and our fills, as a Plotly figure.

Plain dictionaries of Plotly's own words. Bars stand side by side without the nights between them. What an indicator says is drawn over the
prices where it is of their size, else in a panel below.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Dictionary = dict[str, Any]
_INK, _GRID = "#8793a3", "rgba(128,140,155,.18)"
_UP, _DOWN, _VOLUME = "#2e9e6b", "#d0594f", "rgba(128,140,155,.35)"
_LINES = ("#3b82c4", "#c9861a", "#8a63c9", "#2aa198", "#b35c8c", "#6b7f2a")


def figure(found: Mapping[str, Any], *, dotted: bool = True) -> Dictionary:
    """The figure for a reply of /api/v1/chart; `dotted` False leaves the indicators out."""
    bars = found["bars"]
    names = [_name(bar[0]) for bar in bars]
    over, below = _lines(found, names) if dotted else ([], [])
    data: list[Dictionary] = [
        {
            "type": "candlestick",
            "name": found["instrument"],
            "x": names,
            **{word: [bar[place] for bar in bars] for place, word in enumerate(("open", "high", "low", "close"), 1)},
            "increasing": {"line": {"color": _UP, "width": 1}},
            "decreasing": {"line": {"color": _DOWN, "width": 1}},
            "showlegend": False,
        },
        {"type": "bar", "name": "volume", "x": names, "y": [bar[5] for bar in bars], "yaxis": "y2", "marker": {"color": _VOLUME},
         "showlegend": False, "hoverinfo": "y"},
        *over,
        *below,
        *_trades(found["trades"], bars, names),
    ]  # fmt: skip
    return {"data": data, "layout": _layout(names, bool(below)), "config": {"displaylogo": False, "displayModeBar": False}}


def _lines(found: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Dictionary], list[Dictionary]]:
    """The indicators' lines over the prices, and those below."""
    low, high = min(bar[3] for bar in found["bars"]), max(bar[2] for bar in found["bars"])
    over: list[Dictionary] = []
    below: list[Dictionary] = []
    for strategy, lines in found["indicators"].items():
        for name, values in lines.items():
            known = [value for value in values if value is not None]
            if not known:
                continue
            beside = all(0.8 * low <= value <= 1.2 * high for value in known)
            line = {"color": _LINES[(len(over) + len(below)) % len(_LINES)], "width": 1.4}
            trace = {"type": "scatter", "mode": "lines", "name": f"{strategy} {name}", "x": names, "y": values, "line": line}
            (over if beside else below).append(trace if beside else {**trace, "yaxis": "y3"})
    return over, below


def _trades(fills: Sequence[Mapping[str, Any]], bars: Sequence[Sequence[Any]], names: Sequence[str]) -> list[Dictionary]:
    starts = [datetime.fromisoformat(bar[0]) for bar in bars]
    traces = []
    for side, symbol, colour in (("BUY", "triangle-up", _UP), ("SELL", "triangle-down", _DOWN)):
        placed = [(bisect_right(starts, datetime.fromisoformat(fill["at"])) - 1, fill) for fill in fills if fill["side"] == side]
        shown = [(names[place], fill) for place, fill in placed if place >= 0]
        if shown:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": {"BUY": "bought", "SELL": "sold"}[side],
                    "x": [name for name, _ in shown],
                    "y": [fill["price"] for _, fill in shown],
                    "text": [f"{fill['quantity']} at {fill['price']:.2f}, {fill['strategy']}, {fill['at'][11:19]}" for _, fill in shown],
                    "hoverinfo": "text",
                    "marker": {"symbol": symbol, "size": 11, "color": colour, "line": {"color": "#ffffff", "width": 1}},
                }
            )
    return traces


def _layout(names: Sequence[str], panel: bool) -> Dictionary:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID}
    floor = 0.24 if panel else 0.0
    every = max(1, len(names) // 6)
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": _INK, "size": 11},
        "margin": {"l": 18, "r": 52, "t": 26, "b": 36},
        "hovermode": "x",
        "dragmode": "pan",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "type": "category", "rangeslider": {"visible": False}, "tickvals": names[::every],
                  "ticktext": _ticks(names[::every]), "range": [max(-0.5, len(names) - 160.5), len(names) - 0.5]},
        "yaxis": {**axis, "side": "right", "domain": [floor, 1.0], "tickformat": ",.2~f", "fixedrange": False},
        "yaxis2": {"domain": [floor, floor + 0.14], "visible": False, "anchor": "x", "overlaying": None},
        "yaxis3": {**axis, "side": "right", "domain": [0.0, 0.2], "visible": panel},
    }  # fmt: skip


def _ticks(names: Sequence[str]) -> list[str]:
    """The times, and the day where it is another."""
    days = [name[:-6] for name in names]
    return [f"{name[-5:]}<br>{day}" if before != day else name[-5:] for name, day, before in zip(names, days, ["", *days], strict=False)]


def _name(at: str) -> str:
    """`20 Nov 09:15`."""
    return f"{datetime.fromisoformat(at):%d %b %H:%M}"
