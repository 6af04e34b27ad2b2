"""Broker apps: where each one's session stands, logging in for the day, which one is in use, and which is the default."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from nicegui import ui

from api.dashboard.broker_forms import FORMS, title
from api.dashboard.connect import Connect
from api.dashboard.parts import age, ask, badge, card, moment, named
from api.dashboard.visit import Refused, Visit, refused

EVERY_S = 30.0
LOGIN_WANTED = 428


async def show(visit: Visit) -> None:
    page = Brokers(visit)
    with ui.row().classes("head-row"):
        ui.label("Brokers and apps").classes("headline")
        ui.space()
        if visit.may("trader"):
            named(ui.button("Add a broker", icon="add", on_click=lambda: ui.navigate.to("/setup")).props("unelevated no-caps"), "add")
    page.place = ui.element("div").classes("grid")
    await page.load()
    ui.timer(EVERY_S, page.refresh)


class Brokers:
    """The person's apps as cards."""

    place: ui.element

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._busy = False  # a login is being typed: the cards stay as they are
        self._seen: Any = None

    async def refresh(self) -> None:
        if not self._busy:
            await self.load()

    async def load(self) -> None:
        apps = await self._visit.act(self._visit.api.get("/api/apps"))
        if apps is None or apps == self._seen:
            return
        self._seen = apps
        self.place.clear()
        with self.place:
            for app in apps:
                self._card(app)
            if not apps:
                with card():
                    ui.label("No broker is set up. The practice account needs none.").classes("note")

    def _card(self, app: Mapping[str, Any]) -> None:
        with card("", f"app-{app['id']}").classes("half"):
            with ui.row().classes("items-center"):
                ui.label(app["name"]).classes("headline")
                ui.label(title(app["broker"])).classes("note")
                ui.space()
                if app["active"]:
                    badge("in use", f"in-use-{app['id']}")
                if app["is_default"]:
                    badge("default", f"default-{app['id']}")
                badge(app["session"], f"session-{app['id']}")
            ui.label(_life(app, self._visit.parts.now())).classes("note")
            holds = " · ".join(f"{name.replace('_', ' ')} {text}" for name, text in app["holds"].items())
            ui.label((f"client {app['account_id']} · " if app["account_id"] else "") + holds).classes("mono")
            if self._visit.may("trader"):
                self._buttons(app)

    def _buttons(self, app: Mapping[str, Any]) -> None:
        flat = "flat dense no-caps"
        api = self._visit.api
        with ui.row().classes("buttons"):
            renew = app["session"] == "VALID"
            named(
                ui.button("Log in again" if renew else "Connect", icon="login", on_click=lambda: self._connect(app)).props(flat),
                f"connect-{app['id']}",
            )
            if not app["active"]:
                switch = ui.button("Switch to it", icon="swap_horiz", on_click=lambda: self._switch(app)).props(flat)
                named(switch, f"switch-{app['id']}")
            if not app["is_default"]:
                default = self._doing(lambda: api.patch(f"/api/apps/{app['id']}", {"is_default": True}), f"{app['name']} is the default")
                named(ui.button("Make default", icon="star", on_click=default).props(flat), f"make-default-{app['id']}")
            named(ui.button("Remove", icon="delete", on_click=lambda: self._remove(app)).props(flat), f"remove-{app['id']}")

    def _doing(self, call: Callable[[], Awaitable[Any]], done: str) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await self._visit.act(call(), done)
            await self.load()

        return do

    async def _switch(self, app: Mapping[str, Any]) -> None:
        """Where the session has ended (428) the login opens at once."""
        try:
            await self._visit.api.post(f"/api/apps/{app['id']}/switch", {})
            ui.notify(f"{app['name']} is in use", type="positive")
        except Refused as no:
            if no.status == LOGIN_WANTED:
                await self._connect(app)
            else:
                refused(no.text)
        await self.load()

    async def _connect(self, app: Mapping[str, Any]) -> None:
        self._busy = True
        with ui.dialog().props("persistent") as dialog, ui.card().classes("dialog"):
            with ui.row().classes("head-row"):
                ui.label(f"{FORMS[app['broker']].title} · {app['name']}").classes("headline")
                ui.space()
                ui.button(icon="close", on_click=dialog.close).props("flat round dense aria-label=Close")
            body = ui.column().classes("full")
        dialog.open()

        async def done() -> None:
            ui.notify(f"{app['name']} is active", type="positive")
            dialog.close()

        with body:
            await Connect(self._visit, app, done).build()
        await dialog
        self._busy = False
        dialog.delete()
        await self.load()

    async def _remove(self, app: Mapping[str, Any]) -> None:
        if await ask(f"Remove {app['name']}?", "Its credentials and its session are forgotten.", "Remove"):
            await self._doing(lambda: self._visit.api.delete(f"/api/apps/{app['id']}"), f"{app['name']} is gone")()


def _life(app: Mapping[str, Any], now: datetime) -> str:
    """How long the token lives yet."""
    ends = app["session_expires_at"]
    if not ends:
        return "no login yet" if app["session"] == "LOGIN_REQUIRED" else "the broker says nothing about the token's end"
    left = (datetime.fromisoformat(ends) - now).total_seconds()
    return f"token ends {moment(ends)}" + (f", in {age(left)}" if 0 < left < 3 * 86_400 else "")
