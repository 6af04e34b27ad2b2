"""The accounts of one daemon side by side: what each is and how it stands, at a glance on every page, and which of them the page shows."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from api.dashboard.parts import gain, named, rupees, tone
from api.dashboard.visit import Board, Visit

Row = Mapping[str, Any]
WORDS = {"practice": "PRACTICE", "practice-live": "PRACTICE", "paper": "PAPER", "live": "LIVE"}


def rows(board: Board) -> list[Row]:
    """The daemon's accounts by name; none where there is but one."""
    found = sorted(board.status.get("accounts") or (), key=lambda row: str(row["account"]))
    return found if len(found) > 1 else []


class Accounts:
    """A row of links below the banner, one for each account; hidden where there is but one."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._links: dict[str, _Link] = {}
        self._row = named(ui.row().classes("accounts").props('role=navigation aria-label="Accounts"'), "accounts")
        visit.on_live(self._show)

    def _show(self, board: Board) -> None:
        found = rows(board)
        self._row.set_visibility(bool(found))
        if [str(row["account"]) for row in found] != list(self._links):
            self._row.clear()
            with self._row:
                self._links = {str(row["account"]): _Link(self._visit, row) for row in found}
        for row in found:
            self._links[str(row["account"])].show(row, board)


class _Link:
    def __init__(self, visit: Visit, row: Row) -> None:
        name = str(row["account"])
        with ui.link(target=f"{visit.path}?account={name}").classes("account").props(f"data-testid=account-{name}") as self._link:
            self._kind = ui.label("").classes("word")
            ui.label(name).classes("strong")
            self._state = ui.label("").classes("badge")
            self._net = ui.label("").classes("net")

    def show(self, row: Row, board: Board) -> None:
        kind, running = str(row.get("kind")), board.running and row.get("running") is not False
        word = WORDS.get(kind, kind.upper())
        here = " here" if row["account"] == board.status.get("account") else ""
        self._link.classes(replace=f"account {kind}{here}" + ("" if running else " down"))
        self._kind.set_text(word)
        state = str(row.get("trading_state")) if running else "STOPPED"
        login = " · login" if running and row.get("session") == "LOGIN_REQUIRED" else ""
        self._state.set_text(state.replace("_", " ") + login)
        self._state.classes(replace=f"badge {'bad' if login or not running else tone(state)}")
        net = (row.get("pnl") or {}).get("net")
        self._net.set_text(rupees(net, sign=True) + ("" if row.get("flat", True) else " · holds"))
        self._net.classes(replace=f"net {gain(net)}")
