"""The one calm live screen of `run` on a terminal: phase, feed, P&L, positions, last orders, alerts. Elsewhere the log speaks."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loguru import logger
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from core.types import Snapshot
from runtime.tables import number, orders_table, positions_table
from utils.rupees import rupees

REDRAW = 0.5  # seconds between looks at the snapshot; faster only flickers
LAST_ORDERS = 8
LAST_ALERTS = 4


class Screen:
    """Redraws from the engine's published Snapshot in a thread of its own; holds no state and takes no part in granted time.

    Does nothing unless `console` is a terminal, so that a service or a pipe gets plain log lines alone.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot | None], console: Console | None = None, page: Callable[[], str] = lambda: ""
    ) -> None:
        """`page`: the dashboard's address, empty while there is none."""
        self._snapshot = snapshot
        self._page = page
        self._console = console or Console()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def live(self) -> bool:
        """Whether a screen is shown; the caller then keeps the human log off the terminal (the log files have it all)."""
        return self._console.is_terminal

    def start(self) -> None:
        if self.live:
            self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Draw the last state once more and give the terminal back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def _draw(self) -> None:
        try:
            with Live(console=self._console, auto_refresh=False) as live:
                while not self._stop.wait(REDRAW):
                    live.update(render(self._snapshot(), self._page()), refresh=True)
                live.update(render(self._snapshot(), self._page()), refresh=True)
        except Exception:  # a screen must never end a trading day: it is logged, and trading goes on without it
            logger.exception("the live screen stopped; `main.py status` still answers")


def render(snapshot: Snapshot | None, page: str = "") -> RenderableType:
    """One screenful of the snapshot; fits a terminal of 100 columns by 30 lines on an ordinary day."""
    if snapshot is None:
        return Text("starting …", style="dim")
    status = snapshot.status
    parts: list[RenderableType] = [_headline(status), _money(status)]
    if snapshot.positions:
        parts.append(Text())
        parts.append(positions_table([row for row in snapshot.positions if row.get("quantity")] or snapshot.positions))
    if snapshot.orders:
        newest = sorted(snapshot.orders, key=lambda row: str(row.get("updated_at")), reverse=True)[:LAST_ORDERS]
        parts.append(Text())
        parts.append(orders_table(newest, short=True))
    alerts = _alerts(status)
    if alerts:
        parts.extend((Text(), *alerts))
    market: Any = status.get("market") or {}
    data = market.get("data")
    title = f"Niyam · {status.get('account')} ({status.get('kind')})" + (f" · {data}" if data else "")
    return Panel(Group(*parts), title=title, title_align="left", subtitle=page or None, subtitle_align="left")


def _headline(status: Mapping[str, Any]) -> Text:
    market, feed = status.get("market") or {}, status.get("feed") or {}
    now = str(market.get("now") or status.get("as_of") or "")
    line = Text.assemble(
        (now[:10] + " " + now[11:19], "bold"),
        f"  {market.get('phase') or 'closed'}",
        f"  square-off {_clock(market.get('square_off_at'))}",
        "  feed ",
        ("up", "green") if feed.get("connected") else ("DOWN", "bold red"),
    )
    if feed.get("stale"):
        line.append(f"  stale: {', '.join(map(str, feed['stale']))}", "red")
    state = str(status.get("trading_state"))
    line.append(f"  {state}", "green" if state == "ACTIVE" else "bold yellow")
    if status.get("session") != "VALID":
        line.append(f"  session {status.get('session')}", "bold yellow")
    return line


def _money(status: Mapping[str, Any]) -> Text:
    pnl = status.get("pnl") or {}
    net = pnl.get("net") or 0
    return Text.assemble(
        ("net ", "dim"),
        (rupees(net), "bold green" if net >= 0 else "bold red"),
        ("   realised ", "dim"),
        rupees(pnl.get("realised")),
        ("   unrealised ", "dim"),
        rupees(pnl.get("unrealised")),
        ("   charges ", "dim"),
        rupees(pnl.get("charges")),
        ("   orders ", "dim"),
        number(sum((status.get("orders") or {}).values())),
    )


def _alerts(status: Mapping[str, Any]) -> Sequence[Text]:
    return [Text(f"! {_sentence(alert)}", "yellow") for alert in list(status.get("alerts") or ())[-LAST_ALERTS:]]


def _sentence(alert: object) -> str:
    if isinstance(alert, Mapping):
        return " ".join(str(alert[name]) for name in ("at", "title", "text") if alert.get(name))
    return str(alert)


def _clock(at: object) -> str:
    return str(at)[11:16] if at else "-"
