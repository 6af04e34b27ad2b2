"""The cockpit page."""

from nicegui import ui

from api.dashboard.parts import card
from api.dashboard.visit import Visit


async def show(visit: Visit) -> None:
    with card("cockpit"):
        ui.label(visit.user.username)
