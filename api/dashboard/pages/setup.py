"""The setup page."""

from nicegui import ui

from api.dashboard.parts import card
from api.dashboard.visit import Visit


async def show(visit: Visit) -> None:
    with card("setup"):
        ui.label(visit.user.username)
