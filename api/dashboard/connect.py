"""A broker's login for the day on the page: its login page opened and the redirect caught, or the answer typed; then it is activated."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui

from api.dashboard.broker_forms import FORMS
from api.dashboard.parts import named
from api.dashboard.visit import Refused, Visit

EVERY_S = 1.0
LOOKS = 600  # then the login has been forgotten anyway (api/brokerage.py: ten minutes)

Done = Callable[[], Awaitable[None]]


class Connect:
    """The panel for one app of the person's; `done` is called when the broker is active."""

    def __init__(self, visit: Visit, app: Mapping[str, Any], done: Done) -> None:
        self._visit = visit
        self._app = app
        self._form = FORMS[app["broker"]]
        self._done = done
        self._looks = 0

    async def build(self) -> None:
        """The steps of this broker's login, inside the present element."""
        told = await self._visit.act(self._visit.api.post(self._path("login-url"), {"app_id": self._app["id"]}))
        if told is None:
            return
        if told["kind"] == "code":
            self._by_code(told["login_url"])
        else:
            self._by_redirect(told)

    def _path(self, end: str) -> str:
        return f"/api/v1/dashboard/{self._app['broker']}/{end}"

    def _by_redirect(self, told: Mapping[str, Any]) -> None:
        ui.label(self._form.where).classes("note")
        with ui.row().classes("copy-line"):
            ui.label("Redirect URL to register").classes("note")
            named(ui.label(told["redirect_uri"]).classes("mono"), "redirect-uri")
        named(ui.link(f"Open {self._form.title}'s login page", told["login_url"], new_tab=True).classes("act-link"), "login-link")
        if told["state"] is not None and told["redirect_uri"].endswith(self._path("callback")):
            with ui.row().classes("items-center"):
                ui.spinner(size="sm")
                ui.label("Log in there; you come back by yourself, and it is activated here.").classes("note")
            self._timer = ui.timer(EVERY_S, self._look)
        else:
            ui.label(
                f"{self._form.title} sends nothing here that says who began the login: copy the address you end on (or its "
                f"{self._form.answer}) into the field."
            ).classes("note")
        self._typed(f"{self._form.answer}, or the whole address you ended on", "Activate")

    def _by_code(self, login_url: str) -> None:
        if self._app["broker"] == "groww" and "secret_key" in self._app["holds"]:
            ui.label("This is an approval key: approve it for today on Groww's page, then log in.").classes("note")
            ui.link("Open Groww's page", login_url, new_tab=True).classes("act-link")
            named(ui.button("Log in", on_click=self._switch).props("unelevated no-caps"), "activate")
            return
        ui.label(f"Type the six digits of your authenticator app for {self._form.title}.").classes("note")
        self._typed("Code (TOTP)", "Activate")

    def _typed(self, label: str, button: str) -> None:
        with ui.row().classes("form-row"):
            field = ui.input(label).props("outlined dense autocomplete=off").classes("grow")
            named(field, "answer")

            async def send() -> None:
                text = field.value.strip()
                if not text:
                    ui.notify(f"{label} is missing", type="warning")
                    return
                field.set_value("")
                await self._activate({self._form.answer_field: text})

            field.on("keydown.enter", send)
            named(ui.button(button, on_click=send).props("unelevated no-caps"), "activate")

    async def _look(self) -> None:
        """Whether the callback has caught the answer; then it is exchanged at once."""
        self._looks += 1
        if self._looks > LOOKS:
            self._timer.cancel()
            return
        try:
            caught = (await self._visit.api.get(self._path("caught"), app_id=self._app["id"]))["caught"]
        except Refused as no:
            self._timer.cancel()
            ui.notify(no.text, type="negative", close_button=True)
            return
        if caught:
            self._timer.cancel()
            await self._activate({})

    async def _activate(self, answer: Mapping[str, str]) -> None:
        body = {"brokerage": self._app["broker"], "app_id": self._app["id"], **answer}
        if await self._visit.act(self._visit.api.post("/api/v1/dashboard/activate-brokerage", body)) is not None:
            await self._done()

    async def _switch(self) -> None:
        if await self._visit.act(self._visit.api.post(f"/api/apps/{self._app['id']}/switch", {}), "logged in") is not None:
            await self._done()
