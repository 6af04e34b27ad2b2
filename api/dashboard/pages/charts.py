"""A chart for each instrument that strategies hear bars of: bars, indicators, and our fills; it grows with each closed bar."""

from typing import Any

from nicegui import ui

from api.dashboard.figure import figure
from api.dashboard.parts import Column, Table, card, clock, price
from api.dashboard.visit import Refused, Visit

LOOK_S = 2.0  # how often it is asked whether a bar has closed
_FILLS = (
    Column("at", "Time", clock),
    Column("side", "Side", colour=lambda value: "buy" if value == "BUY" else "sell"),
    Column("quantity", "Quantity", right=True),
    Column("price", "Price", price, right=True),
    Column("strategy", "Strategy"),
    Column("charges", "Charges", price, right=True, phone=False),
)


async def show(visit: Visit) -> None:
    await _Charts(visit).begin()


class _Charts:
    """The page's state: which series is shown, and up to which bar."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._shown: tuple[Any, ...] = ()
        with card("Chart", "chart"):
            with ui.row().classes("controls"):
                self._choice = ui.select({}, label="Instrument", on_change=self._draw).props("dense outlined options-dense").classes("wide")
                self._choice.mark("series").props("data-testid=series")
                self._dotted = ui.switch("Indicators", value=True, on_change=self._draw)
            self._note = ui.label("").classes("note")
            self._picture = ui.plotly({"data": [], "layout": {}}).classes("chart live-figures")
            self._picture.mark("picture").props("data-testid=picture")
        with card("Fills on it", "chart-fills"):
            self._fills = Table(_FILLS, empty="no fill in these bars", rows=20)

    async def begin(self) -> None:
        await self._look()
        ui.timer(LOOK_S, self._look)

    async def _look(self) -> None:
        """Whether there are other series, or a bar more of the one shown."""
        try:
            lines = await self._visit.api.get("/api/v1/charts")
        except Refused as no:
            self._picture.set_visibility(False)
            self._note.set_text(no.text)
            return
        options = {f"{one['instrument']}|{one['interval']}": f"{one['instrument']}, {one['interval']} min" for one in lines}
        if options != self._choice.options:
            asked = str(ui.context.client.request.query_params.get("instrument", ""))
            first = next((key for key in options if key.startswith(f"{asked}|")), next(iter(options), None))
            self._choice.set_options(options, value=self._choice.value if self._choice.value in options else first)
        if not options:
            self._note.set_text("no bar has closed yet: a chart begins with the first one a strategy hears")
        self._picture.set_visibility(bool(options))
        now = next(((one["bars"], one["last_at"]) for one in lines if self._key(one) == self._choice.value), None)
        if now is not None and (self._choice.value, now) != self._shown:
            await self._draw()
            self._shown = (self._choice.value, now)

    async def _draw(self) -> None:
        if not self._choice.value:
            return
        instrument, _, interval = self._choice.value.rpartition("|")
        try:
            found = await self._visit.api.get("/api/v1/chart", instrument=instrument, interval=interval)
        except Refused as no:
            self._note.set_text(no.text)
            return
        last = found["bars"][-1]
        missed = sum(bool(bar[6]) for bar in found["bars"])
        gaps = f"; of {missed} bar{'s' * (missed > 1)} not every tick was seen" if missed else ""
        source = f" · {found['source']}" if found.get("source") else ""
        self._note.set_text(f"{len(found['bars'])} bars, the last closed at {price(last[4])}{gaps}{source}")
        self._picture.update_figure(figure(found, dotted=bool(self._dotted.value)))
        self._fills.show(list(reversed(found["trades"])))

    @staticmethod
    def _key(one: dict[str, Any]) -> str:
        return f"{one['instrument']}|{one['interval']}"
