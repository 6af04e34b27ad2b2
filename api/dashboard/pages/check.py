"""The settings check: what would stop or endanger a trading day, each with its remedy, as `main.py check` says it."""

from typing import Any

from nicegui import ui

from api.dashboard.parts import card, set_badge
from api.dashboard.visit import Refused, Visit

_WORDS = {"wrong": ("wrong", "bad"), "note": ("note", "warn"), "ok": ("ok", "good")}


async def show(visit: Visit) -> None:
    with card("Before a trading day", "check"):
        with ui.row().classes("head"):
            said = ui.label("looking …").classes("title").props("data-testid=verdict")
            ui.space()
            again = ui.button("Check again", icon="refresh").props("flat no-caps")
        place = ui.column().classes("findings")

    async def look() -> None:
        again.disable()
        said.set_text("looking …")
        try:
            found = await visit.api.get("/api/v1/check")
        except Refused as no:
            said.set_text(no.text)
        else:
            said.set_text("nothing stands in the way" if found["ok"] else f"{found['wrong']} of this would stop or endanger the day")
            place.clear()
            with place:
                for one in sorted(found["checks"], key=lambda one: list(_WORDS).index(one["status"])):
                    _finding(one)
        again.enable()

    again.on_click(look)
    ui.timer(0.1, look, once=True)


def _finding(one: dict[str, Any]) -> None:
    word, tone = _WORDS[one["status"]]
    with ui.element("div").classes("finding"):
        set_badge(ui.label().classes("badge").props(f"data-testid=status-{one['name']}"), word, tone)
        with ui.column().classes("says"):
            ui.label(one["name"]).classes("title")
            ui.label(one["text"])
            if one["remedy"]:
                ui.label(one["remedy"]).classes("note")
