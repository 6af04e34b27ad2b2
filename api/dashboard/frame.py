"""What surrounds every page: the banner that says what is at stake, the navigation, the clock; and the page to sign in at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from nicegui import ui

from api.dashboard.accounts import WORDS, Accounts
from api.dashboard.parts import age, clock, named, set_badge
from api.dashboard.visit import Board, Visit

KINDS = {  # the account's kind: (its class, the word, what it means)
    "practice": ("practice", WORDS["practice"], "simulated fills: no money"),
    "practice-live": ("practice", WORDS["practice-live"], "orders to the simulator: no money"),
    "paper": ("paper", WORDS["paper"], "real prices, simulated fills: no money"),
    "live": ("live", WORDS["live"], "real orders, real money"),
}


class _Page(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def icon(self) -> str: ...
    @property
    def role(self) -> str: ...


def head() -> None:
    ui.colors(primary="#2f6f8f", positive="#1d7a4f", negative="#b3261e", warning="#9a6700")
    ui.add_head_html('<link rel="stylesheet" href="/style.css">')


@contextmanager
def shell(visit: Visit, pages: Sequence[_Page]) -> Iterator[None]:
    """The frame of a signed-in page; its content goes inside."""
    head()
    dark = ui.dark_mode(None)
    drawer = ui.left_drawer(value=False).classes("nav").props("width=190 breakpoint=900 show-if-above")
    with drawer:
        ui.label("Niyam").classes("brand")
        for page in pages:
            if page.icon and visit.may(page.role):
                with ui.link(target=visit.link(page.path)).classes("nav-item" + (" here" if page.path == visit.path else "")):
                    ui.icon(page.icon)
                    ui.label(page.title)
        ui.space()
        ui.label(f"{visit.user.username} · {visit.user.role}").classes("who")
        with ui.element("form").props('method="post" action="/session/out"').classes("sign-out"):
            ui.button("Sign out", icon="logout").props("flat dense no-caps type=submit size=sm")
    with ui.header().classes("top").props("reveal=false"):
        _Banner(visit, drawer, dark)
        Accounts(visit)
    with ui.column().classes("page"):
        yield


class _Banner:
    """Practice, paper or live by colour and word; the market's phase and clock; whether any of it is old."""

    def __init__(self, visit: Visit, drawer: ui.left_drawer, dark: Any) -> None:
        with ui.row().classes("banner") as self._row:
            ui.button(icon="menu", on_click=drawer.toggle).props("flat dense round color=white aria-label=Menu").classes("lt-md")
            self._word = named(ui.label("").classes("kind"), "kind")
            self._means = ui.label("").classes("means gt-sm")
            ui.space()
            self._state = named(ui.label("").classes("badge"), "trading-state")
            self._stale = named(ui.label("").classes("badge warn"), "stale")
            self._clock = named(ui.label("").classes("clock"), "clock")
            with ui.button(icon="contrast").props("flat dense round color=white aria-label=Theme"), ui.menu():
                for text, value in (("As the system", None), ("Light", False), ("Dark", True)):
                    ui.menu_item(text, on_click=lambda value=value: dark.set_value(value))
        self._page = ui.query("body")
        visit.on_live(self._show)

    def _show(self, board: Board) -> None:
        status = board.status
        colour, word, means = KINDS.get(str(status.get("kind", "")), ("down", "NO ACCOUNT", "nothing has run in this state folder yet"))
        if not board.running:
            down = "does not answer" if board.error else "is not running"
            means = f"the engine {down}: these are its last words" if status.get("kind") else means
        self._row.classes(replace=f"banner {colour}" + ("" if board.running else " down"))
        self._word.set_text(word)
        data = (status.get("market") or {}).get("data") if board.running else None
        self._means.set_text(" · ".join(str(text) for text in (status.get("account"), data, means) if text))
        set_badge(self._state, status.get("trading_state", "STOPPED") if board.running else "STOPPED")
        market = status.get("market") or {}
        self._clock.set_text(f"{str(market.get('phase', '')).replace('_', ' ')} {clock(market.get('now'))}" if market else "")
        self._stale.set_text(_staleness(board))
        self._stale.set_visibility(board.stale)
        self._page.classes(add="stale") if board.stale else self._page.classes(remove="stale")


def _staleness(board: Board) -> str:
    if board.error:
        return "no answer" if board.age_s is None else f"no answer, {age(board.age_s)} old"
    if not board.running and board.status.get("as_of"):
        return f"stopped, as of {clock(board.status['as_of'])}"
    if board.age_s is not None:
        return f"{age(board.age_s)} old" if board.running else "no engine"
    return "no answer"


def sign_in(note: str, *, first: bool, register: bool) -> None:
    """The form to sign in or register: a plain form, so that password managers work and no password crosses the page's socket."""
    head()
    ui.dark_mode(None)
    action = "/session/register" if register else "/session/in"
    with ui.element("form").props(f'method="post" action="{action}"').classes("card sign-in"):
        ui.label("Niyam").classes("brand")
        ui.label(_INVITES[first, register]).classes("note")
        if note:
            named(ui.label(note).classes("refused").props("role=alert"), "refused")
        _field("username", "User name or e-mail", "username")
        if register:
            _field("name", "Your name (as you like)", "name", needed=False)
        _field(
            "password", "Password" + (" (10 characters at least)" if register else ""), "new-password" if register else "current-password"
        )
        if register:
            _field("again", "Password again", "new-password")
            if not first:
                _field("invitation", "Invitation", "off")
        ui.button("Create the account" if register else "Sign in").props("type=submit no-caps unelevated color=primary").classes("full")
        if not first:
            other = ("/sign-in", "I have an account") if register else ("/sign-in?register=1", "I have an invitation")
            ui.link(other[1], other[0]).classes("other")


_INVITES = {
    (True, True): "Welcome. Whoever registers first owns this installation; others join by invitation.",
    (False, True): "Register with the invitation of the owner.",
    (False, False): "Sign in to see and steer the engine of this machine.",
}


def _field(name: str, label: str, complete: str, *, needed: bool = True) -> None:
    """A plain input: what is typed is nowhere but in the form."""
    kind = "password" if "password" in complete else "text"
    with ui.element("label").classes("plain-field"):
        ui.label(label)
        ui.element("input").props(f"name={name} type={kind} autocomplete={complete} data-testid={name}" + (" required" if needed else ""))
