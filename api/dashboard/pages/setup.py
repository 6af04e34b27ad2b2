"""The first-run wizard: which broker, its credentials into the vault, today's login, done."""

from typing import Any

from nicegui import ui

from api.dashboard.broker_forms import FORMS, Form
from api.dashboard.connect import Connect
from api.dashboard.parts import card, named
from api.dashboard.visit import Visit


async def show(visit: Visit) -> None:
    await Wizard(visit).build()


class Wizard:
    """Three steps below each other; a later one opens when the one before is done."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._inputs: dict[str, ui.input] = {}

    async def build(self) -> None:
        with ui.column().classes("narrow"):
            ui.label("Welcome. Set up your trading account").classes("headline")
            ui.label(
                "The engine practises on a simulated market without any of this. A broker is needed for real prices (paper) and real "
                "orders (live). Credentials are sealed in this machine's vault and used for calls to the broker alone."
            ).classes("note")
            ui.link("Practise without a broker", "/")
            with card("1 · Broker"):
                choices = {name: form.title for name, form in FORMS.items()}
                self._broker = ui.select(choices, label="Broker", on_change=self._chosen).props("outlined dense").classes("full")
                named(self._broker, "broker")
            self._credentials = card("2 · Credentials", "credentials")
            self._login = card("3 · Today's login", "login")
            self._end = card("", "done")
            for block in (self._credentials, self._login, self._end):
                block.set_visibility(False)

    def _chosen(self) -> None:
        form = FORMS[str(self._broker.value)]
        self._inputs.clear()
        self._credentials.clear()
        for block in (self._login, self._end):
            block.set_visibility(False)
        with self._credentials:
            ui.label("2 · Credentials").classes("card-title")
            ui.label(form.where).classes("note")
            for field in form.fields:
                made = ui.input(field.label + (" *" if field.needed else "")).props("outlined dense autocomplete=off").classes("full")
                if field.hidden:
                    made.props("type=password autocomplete=new-password")
                if field.hint:
                    ui.label(field.hint).classes("hint")
                self._inputs[field.name] = named(made, field.name)
            named(ui.button("Set up account", on_click=self._keep).props("unelevated no-caps"), "set-up")
        self._credentials.set_visibility(True)

    async def _keep(self) -> None:
        broker = str(self._broker.value)
        form = FORMS[broker]
        given = {name: made.value.strip() for name, made in self._inputs.items() if made.value and made.value.strip()}
        missing = [field.label for field in form.fields if field.needed and field.name not in given]
        if missing:
            ui.notify(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", type="warning")
            return
        answer = given.pop("authorization_code", "")
        app = await self._visit.act(self._store(broker, given), f"{form.title}'s credentials are sealed in the vault")
        if app is None:
            return
        for made in self._inputs.values():
            made.set_value("")
        self._credentials.set_visibility(False)
        self._broker.disable()
        await self._log_in(form, app, answer)

    async def _store(self, broker: str, given: dict[str, str]) -> Any:
        """By the set-up of the guides where it has all fields, else (no API secret, a TOTP secret) as an app."""
        api = self._visit.api
        if "api_secret" in given and "totp_secret" not in given:
            made = await api.post("/api/v1/auth/first-time-api-setup", {"broker": broker, **given})
            return await api.get(f"/api/apps/{made['app_id']}")
        names = {app["name"] for app in await api.get("/api/apps")}
        name = next(name for number in range(1, len(names) + 2) if (name := broker if number == 1 else f"{broker}-{number}") not in names)
        renamed = {"secret_key" if field == "api_secret" else field: text for field, text in given.items()}
        return await api.post("/api/apps", {"broker": broker, "name": name, **renamed})

    async def _log_in(self, form: Form, app: dict[str, Any], answer: str) -> None:
        if answer:
            body = {"brokerage": app["broker"], "app_id": app["id"], form.answer_field: answer}
            if await self._visit.act(self._visit.api.post("/api/v1/dashboard/activate-brokerage", body)) is not None:
                await self._finish(form)
                return
        self._login.set_visibility(True)
        with self._login:
            await Connect(self._visit, app, lambda: self._finish(form)).build()

    async def _finish(self, form: Form) -> None:
        self._login.set_visibility(False)
        self._end.clear()
        with self._end:
            named(ui.label(f"{form.title} is active.").classes("headline"), "activated")
            ui.label(
                "The session lives until the broker ends it, usually the next morning; log in again on the page Brokers then."
            ).classes("note")
            ui.button("Go to the cockpit", on_click=lambda: ui.navigate.to("/")).props("unelevated no-caps")
        self._end.set_visibility(True)
