"""Who may sign in here, and inviting somebody else: the owner's page."""

from nicegui import ui

from api.dashboard.parts import Column, Table, card, moment, named
from api.dashboard.visit import Visit

_ROLES = {"viewer": "Viewer: sees everything, steers nothing", "trader": "Trader: orders, strategies, brokers, kill"}


async def show(visit: Visit) -> None:
    ui.label("People").classes("headline")
    with ui.element("div").classes("grid"):
        with card("Accounts").classes("half"):
            table = Table([Column("username", "User"), Column("name", "Name"), Column("role", "Role")], name="people")
        table.show(await visit.act(visit.api.get("/api/v1/auth/users")) or [])
        with card("Invite").classes("half"):
            role = ui.select(_ROLES, value="viewer", label="Role").props("outlined dense")
            code = named(ui.label("").classes("mono"), "invitation")
            note = ui.label("The code is good for one person and a week, and is shown this once.").classes("note")

            async def invite() -> None:
                made = await visit.act(visit.api.post("/api/v1/auth/invitations", {"role": role.value}))
                if made is not None:
                    code.set_text(made["invitation"])
                    note.set_text(f"For one {made['role']}, until {moment(made['expires_at'])}. It is shown this once.")

            named(ui.button("Make an invitation", on_click=invite).props("unelevated no-caps"), "invite")
