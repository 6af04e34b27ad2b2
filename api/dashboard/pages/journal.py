"""The journal: everything that was decided, searched by kind, text and day, a page at a time."""

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from api.dashboard.parts import Column, Table, card, clock, price, short
from api.dashboard.visit import Refused, Visit

ROWS = 100
_APART = ("seq", "at", "kind")


async def show(visit: Visit) -> None:
    await _Journal(visit).begin()


def told(row: dict[str, Any]) -> dict[str, Any]:
    """An entry in four columns: what it says beyond its kind in a sentence, or in one line of `name: value`; a click shows all of it."""
    try:
        says = _SENTENCES[row["kind"]](row)
    except (KeyError, TypeError):  # another kind, or one that has other facts
        says = ", ".join(f"{name}: {text}" for name, text in facts(row))
    return {**{name: row[name] for name in _APART}, "day": row["at"][:10], "says": says}


def facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an entry says beyond its kind, without what is empty."""
    return [(name, _short(value)) for name, value in row.items() if name not in _APART and value not in (None, "", [], {})]


def _signal(row: Mapping[str, Any]) -> str:
    stop = f", stop {price(row['stop'])}" if row.get("stop") else ""
    return _joined(f"{row['strategy']} wants {row['target']:+g} of {row['name']}{stop}", row.get("why"))


def _intent(row: Mapping[str, Any]) -> str:
    limit = f" at {price(row['limit_price'])}" if row.get("limit_price") else ""
    return _joined(f"{row['side']} {row['quantity']:,d} {short(row['instrument'])}{limit}", row.get("purpose"), row["strategy"])


def _order(row: Mapping[str, Any]) -> str:
    filled = f"{row['filled']:,d} of {row['quantity']:,d}" if row.get("filled") else f"{row['quantity']:,d}"
    average = f" at {price(row['average_price'])}" if row.get("average_price") else ""
    return _joined(f"{row['state']}: {row['side']} {filled} {short(row['instrument'])}{average}", row.get("source"), row.get("reason"))


def _fill(row: Mapping[str, Any]) -> str:
    return _joined(f"{row['side']} {row['quantity']:,d} {short(row['instrument'])} at {price(row['price'])}", row.get("strategy"))


def _alert(row: Mapping[str, Any]) -> str:
    return f"{row['level']}: {row['title']}: {row['text']}"


def _joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "signal": _signal, "intent": _intent, "order": _order, "fill": _fill, "alert": _alert,
}  # fmt: skip


async def whole(row: Mapping[str, Any]) -> None:
    """All of an entry in a dialog."""
    with ui.dialog() as dialog, ui.card().classes("dialog wide"):
        ui.label(f"{row['seq']} · {row['kind']}").classes("headline")
        ui.label(str(row["at"])).classes("note")
        table = Table([Column("name", "What"), Column("text", "Is")], name="entry")
        table.show([{"name": name, "text": text} for name, text in facts(row)])
    dialog.on("hide", dialog.delete)
    dialog.open()


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(one)}" for name, one in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:,.2f}"
    return str(value)


class _Journal:
    """The page's state: what is asked for, and where each page before this one began."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._rows: list[dict[str, Any]] = []
        self._before: list[int | None] = [None]  # the sequence number that each page ends before, the newest page first
        with card("Journal", "journal"):
            with ui.row().classes("controls"):
                self._day = ui.input("Day", placeholder="every day").props("dense outlined type=date stack-label data-testid=day")
                self._kind = ui.select({"": "every kind"}, value="", label="Kind").props("dense outlined options-dense data-testid=kind-of")
                self._text = (
                    ui.input("Text", placeholder="NIFTY, a tag, a reason …")
                    .props("dense outlined clearable data-testid=text")
                    .classes("wide")
                )
                ui.button("Search", icon="search", on_click=self._search).props("unelevated no-caps color=primary")
            self._text.on("keydown.enter", self._search)
            self._note = ui.label("").classes("note").props("data-testid=found")
            columns = (
                Column("seq", "No.", right=True, phone=False),
                Column("day", "Day", phone=False),
                Column("at", "Time", clock),
                Column("kind", "Kind"),
                Column("says", "What"),
            )
            with ui.element("div").classes("wrapped"):
                self._table = Table(columns, empty="nothing of that kind", name="entries", on_row=self._whole)
            with ui.row().classes("controls"):
                self._newer = ui.button("Newer", icon="chevron_left", on_click=self._back).props("flat no-caps data-testid=newer")
                self._older = ui.button("Older", on_click=self._on).props("flat no-caps icon-right=chevron_right data-testid=older")

    async def _whole(self, row: Mapping[str, Any]) -> None:
        await whole(next(entry for entry in self._rows if entry["seq"] == row["seq"]))

    async def begin(self) -> None:
        await self._kinds()
        await self._load()

    async def _search(self) -> None:
        self._before = [None]
        await self._kinds()
        await self._load()

    async def _on(self) -> None:
        self._before.append(self._oldest)
        await self._load()

    async def _back(self) -> None:
        self._before.pop()
        await self._load()

    async def _kinds(self) -> None:
        try:
            kinds = await self._visit.api.get("/api/v1/journal/kinds", day=self._day.value or None)
        except Refused:
            return  # the search that follows says why
        options = {"": "every kind", **{kind: f"{kind} ({count})" for kind, count in kinds.items()}}
        self._kind.set_options(options, value=self._kind.value if self._kind.value in options else "")

    async def _load(self) -> None:
        asked = {"day": self._day.value or None, "kind": self._kind.value or None, "text": self._text.value or None}
        try:
            rows = await self._visit.api.get("/api/v1/journal", **asked, before=self._before[-1], limit=ROWS + 1)
        except Refused as no:
            self._note.set_text(no.text)
            rows = []
        more, rows = len(rows) > ROWS, rows[-ROWS:]
        self._oldest = rows[0]["seq"] if rows else None
        self._rows = rows
        self._table.show([told(row) for row in reversed(rows)])
        if rows:
            self._note.set_text(f"entries {rows[0]['seq']} to {rows[-1]['seq']}, the newest first")
        self._newer.set_enabled(len(self._before) > 1)
        self._older.set_enabled(more)
