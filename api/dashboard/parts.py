"""The pieces all pages are made of: cards, figures, badges, tables; and how numbers and times are written."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from nicegui import ui
from nicegui.events import GenericEventArguments

DASH = "–"
GOOD = frozenset({"ACTIVE", "VALID", "FILLED", "EXECUTED", "running", "connected", "done"})
BAD = frozenset({"HALTED", "LOGIN_REQUIRED", "REJECTED", "UNKNOWN", "failed", "page", "NOT_FOUND"})
WARN = frozenset({"REDUCE_ONLY", "EXPIRING", "PAUSED", "warn", "stale", "blind"})


# --- words --------------------------------------------------------------------------------------------------------------------


def rupees(value: float | None, *, sign: bool = False) -> str:
    """In the Indian way, whole rupees from a lakh on: ₹12,34,567; paise below."""
    if value is None:
        return DASH
    size = abs(value)
    places = 0 if size >= 100_000 else 2
    whole, _, paise = f"{size:.{places}f}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    groups: list[str] = []
    while head:
        groups.insert(0, head[-2:])
        head = head[:-2]
    text = ",".join([*groups, tail]) + (f".{paise}" if paise else "")
    mark = "−" if value < 0 and float(f"{size:.{places}f}") > 0 else "+" if sign and value > 0 else ""
    return f"{mark}₹{text}"


def price(value: float | None) -> str:
    return DASH if value is None else f"{value:,.2f}"


def percent(value: float | None) -> str:
    return DASH if value is None else f"{value:+.2f} %".replace("-", "−")


def clock(at: str | None) -> str:
    """The time of day of an ISO time."""
    return DASH if not at else f"{datetime.fromisoformat(str(at)):%H:%M:%S}"


def short(key: object) -> str:
    """An instrument without its exchange."""
    text = str(key)
    return text.partition(":")[2] or text


def moment(at: str | None) -> str:
    return DASH if not at else f"{datetime.fromisoformat(str(at)):%d %b %H:%M}"


def age(seconds: float | None) -> str:
    """How old something is, in the coarsest unit that says it."""
    if seconds is None:
        return "never"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def tone(word: object) -> str:
    """good, bad, warn or calm: the colour of a state."""
    text = str(word)
    return "good" if text in GOOD else "bad" if text in BAD else "warn" if text in WARN else "calm"


def gain(value: float | None) -> str:
    """The class of a profit's colour."""
    return "" if value is None or abs(value) < 0.005 else "gain" if value > 0 else "loss"


# --- pieces -------------------------------------------------------------------------------------------------------------------


E = TypeVar("E", bound=ui.element)


def named(element: E, name: str) -> E:
    """Call an element by a name that tests find it by."""
    element.mark(name).props(f"data-testid={name}")
    return element


async def ask(title: str, text: str, yes: str, *, danger: bool = True) -> bool:
    """One question before something that is not taken back."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        ui.label(title).classes("headline")
        ui.label(text).classes("note")
        with ui.row().classes("buttons end"):
            ui.button("No", on_click=lambda: dialog.submit(False)).props("flat no-caps")
            sure = ui.button(yes, on_click=lambda: dialog.submit(True)).props("unelevated no-caps" + (" color=negative" if danger else ""))
            named(sure, "sure")
    answer = await dialog
    dialog.delete()
    return bool(answer)


def card(title: str = "", name: str = "") -> ui.column:
    """A block of the page; use it as a context. `name` is what tests call it."""
    block = ui.column().classes("card")
    if name:
        named(block, name)
    if title:
        with block:
            ui.label(title).classes("card-title")
    return block


def badge(word: object, name: str = "") -> ui.label:
    label = ui.label(str(word)).classes(f"badge {tone(word)}")
    return named(label, name) if name else label


def set_badge(label: ui.label, word: object, toned: str = "") -> None:
    label.set_text(str(word))
    label.classes(remove="good bad warn calm", add=toned or tone(word))


class Figure:
    """One number with its caption."""

    def __init__(self, caption: str, name: str = "") -> None:
        with ui.column().classes("figure"):
            ui.label(caption).classes("caption")
            self._value = ui.label(DASH).classes("value")
            self._note = ui.label("").classes("note")
        if name:
            named(self._value, name)

    def show(self, text: str, note: str = "", colour: str = "") -> None:
        self._value.set_text(text)
        self._value.classes(replace=f"value {colour}")
        self._note.set_text(note)


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: the field of a row, its heading, how a value is written, and whether a phone shows it."""

    field: str
    label: str
    write: Callable[[Any], str] = str
    right: bool = False
    phone: bool = True
    colour: Callable[[Any], str] | None = None


class Table:
    """A dense table of plain text; `show(rows)` fills it. Written values only: nothing of a row becomes markup."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "nothing yet",
        name: str = "",
        rows: int = 0,
        on_row: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None,
    ) -> None:
        """`rows`: so many on a page (0: all). `on_row` is called with the row that was clicked, as it was given."""
        self._columns = columns
        self._given: Sequence[Mapping[str, Any]] = []
        self._page = 1
        self._table = ui.table(
            columns=[
                {
                    "name": column.field,
                    "label": column.label,
                    "field": column.field,
                    "align": "right" if column.right else "left",
                    "classes": "" if column.phone else "gt-xs",
                    "headerClasses": "" if column.phone else "gt-xs",
                    ":classes": f"row => (row.__{column.field} || '') + '{'' if column.phone else ' gt-xs'}'",
                }
                for column in columns
            ],
            rows=[],
            row_key="__key",
            pagination={"rowsPerPage": rows, "page": 1, "rowsNumber": 0} if rows else None,
        )
        self._table.classes("table").props(f'flat dense wrap-cells hide-bottom :rows-per-page-options="[{rows}]"')
        self._size = rows
        self._empty = ui.label(empty).classes("empty")
        if name:
            named(self._table, name)
        if on_row is not None:

            async def clicked(event: GenericEventArguments) -> None:
                key = event.args[1].get("__key")
                if isinstance(key, int) and key < len(self._given):
                    await on_row(self._given[key])

            self._table.on("rowClick", clicked, [[], ["__key"], None]).classes("clickable")
        if rows:  # the browser has one page of them and asks for the others
            self._table.on("request", self._turn, ["pagination"])

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._given = rows
        self._write()

    def _turn(self, event: GenericEventArguments) -> None:
        page = event.args.get("pagination", {}).get("page")
        self._page = page if isinstance(page, int) else 1
        self._write()

    def _write(self) -> None:
        count = len(self._given)
        self._page = max(1, min(self._page, -(-count // self._size))) if self._size else 1
        first = (self._page - 1) * self._size
        shown = self._given[first : first + self._size] if self._size else self._given
        made = [self._written(first + number, row) for number, row in enumerate(shown)]
        if self._size:
            paging = {"rowsPerPage": self._size, "page": self._page, "rowsNumber": count}
            if paging != self._table.pagination:
                self._table.props(remove="hide-bottom") if count > self._size else self._table.props("hide-bottom")
                self._table.pagination = paging
        if made != self._table.rows:
            self._table.rows = made
        self._empty.set_visibility(not made)
        self._table.set_visibility(bool(made))

    def _written(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {"__key": number}
        for column in self._columns:
            value = row.get(column.field)
            made[column.field] = column.write(value) if value is not None else DASH
            if column.colour is not None:
                made[f"__{column.field}"] = column.colour(value)
        return made
