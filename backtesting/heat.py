"""A sweep over two parameters as a map of colours, on a page that needs no network."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from backtesting.page import chart, page_of

SIGNED = frozenset({"net", "gross", "expectancy", "sharpe", "sortino"})
"""Figures of which zero is the middle: loss is one colour and gain the other, whatever the range."""
_SMALL, _CELL = 160, 24  # pixels


def heat_html(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """The page for a document of the sweep; `names` are the two parameters, the first downwards."""
    down, across = (list(map(str, found["space"][name])) for name in names)
    objective = found["objective"]
    cells = {(str(row["params"][names[0]]), str(row["params"][names[1]])): row["figures"].get(objective) for row in found["results"]}
    what = objective.replace("_", " ")
    figure = go.Figure(
        go.Heatmap(
            x=across, y=down, z=[[cells.get((one, other)) for other in across] for one in down], xgap=1, ygap=1,
            colorscale="RdBu" if objective in SIGNED else "Viridis", zmid=0 if objective in SIGNED else None,
            colorbar={"title": what, "thickness": 12, "outlinewidth": 0},
            hovertemplate=f"{names[0]} %{{y}}, {names[1]} %{{x}}<br>{what} %{{z:,.2f}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title=names[1], type="category", showgrid=False)
    figure.update_yaxes(title=names[0], type="category", showgrid=False)
    best = found["results"][0]
    settings = ", ".join(f"{name} {value}" for name, value in best["params"].items())
    value = best["figures"].get(objective)
    first = f"Best {what}: {'-' if value is None else f'{value:,.2f}'} with {settings}. " if not best["given_up"] else ""
    body = (
        f'<p class="what">{found["from"]} to {found["to"]}, {html.escape(found["data"])}; {len(found["results"])} runs. '
        f"{html.escape(first)}"
        "The best of many tries on the same days is the luckiest one, too: look for a wide area rather than for a point. "
        "What was, on recorded data, says nothing of what will be.</p>"
    )
    title = f"{found['strategy']}: {what} by {names[0]} and {names[1]}"
    return page_of(title, body + chart(figure, _SMALL + _CELL * len(down)))
