"""A page with charts that is one file and needs no network: the charting library's own script is written into it."""

import html
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #ffffff; --faint: #6b7280; --rule: #e3e6ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171b; --faint: #9aa3af; --rule: #2a2f36; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1200px; padding: 1.5rem; overflow-x: hidden }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.what { color: var(--faint); margin: 0 0 1rem; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .45rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left } thead th { position: sticky; top: 0; background: var(--paper) }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .5rem }
.figures div { border: 1px solid var(--rule); border-radius: .4rem; padding: .5rem .75rem }
.figures b { display: block; font-size: 1.15rem }
.figures span { color: var(--faint); font-size: .85rem } .scroll { overflow-x: auto; max-height: 32rem }
.note { color: var(--faint); overflow-wrap: anywhere } .chart { overflow: hidden }
@media (max-width: 600px) { body { padding: 1rem; font-size: 14px } h1 { font-size: 1.2rem } }
"""
FAINT = "rgba(128,128,128,.15)"


def page_of(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
    script = f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script>"
    return f"<!doctype html><html lang=en><head>{head}{script}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n"


def chart(figure: go.Figure, height: int = 420) -> str:
    """The figure in the page's colours, as wide as the page; what the figure says of itself stands."""
    given: dict[str, Any] = {
        "template": "plotly_white", "margin": {"l": 55, "r": 12, "t": 10, "b": 40}, "height": height, "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": "#7a828e"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#b6bcc6", "activecolor": "#3b6fb6"},
    }  # fmt: skip
    figure.update_layout(**given)
    config = {"displaylogo": False, "responsive": True}
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config, default_height=f"{height}px")
    return f'<div class="chart">{text}</div>'
