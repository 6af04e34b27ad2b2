"""Backtests: start one over a file of the data folder, with parameters of its own; its progress; and the reports of those that are done."""

import math
from typing import Any

from nicegui import ui

from api.dashboard.parts import card, gain, moment, rupees, set_badge
from api.dashboard.visit import Refused, Visit

LOOK_S = 1.0
_TONES = {"done": "good", "failed": "bad", "running": "warn", "queued": "calm", "cancelled": "calm"}


async def show(visit: Visit) -> None:
    await _Backtests(visit).begin()


class _Backtests:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._rows: dict[str, _Row] = {}
        self._ranges: dict[str, list[dict[str, Any]]] = {}
        self._params: dict[str, Any] = {}
        if visit.may("trader"):
            with card("New backtest", "new-backtest"):
                self._form()
        with card("Runs", "runs"):
            self._empty = ui.label("no run yet").classes("empty")
            self._list = ui.column().classes("runs")
        with card("Report", "report-card") as self._report:
            with ui.row().classes("head"):
                self._title = ui.label("").classes("title")
                ui.space()
                self._apart = ui.link("Open it alone", "", new_tab=True)
            self._frame = ui.element("iframe").classes("report").props('sandbox="allow-scripts" title="the report" data-testid=report')
        self._report.set_visibility(False)

    def _form(self) -> None:
        with ui.row().classes("controls"):
            self._strategy = ui.select([], label="Strategy", on_change=self._choose).props(
                "dense outlined options-dense data-testid=strategy"
            )
            self._data = ui.select([], label="Data").props("dense outlined options-dense data-testid=data").classes("wide")
            self._from = ui.input("From").props("dense outlined type=date stack-label")
            self._to = ui.input("To").props("dense outlined type=date stack-label")
            self._instrument = ui.input("Instrument", placeholder="as in its file").props("dense outlined data-testid=instrument")
        self._fields = ui.element("div").classes("fields")
        self._where = ui.label("").classes("note")
        with ui.row():
            ui.button("Start", icon="play_arrow", on_click=self._start).props("unelevated no-caps color=primary")

    async def begin(self) -> None:
        if self._visit.may("trader"):
            choices = await self._visit.api.get("/api/v1/backtests/choices")
            files = choices["strategies"]
            self._ranges = {row["name"]: [{**one, "now": row["params"].get(one["name"])} for one in row["ranges"]] for row in files}
            self._strategy.set_options([*self._ranges], value=next(iter(self._ranges), None))
            self._data.set_options(choices["data"], value=next(iter(choices["data"]), None))
            self._where.set_text("" if choices["data"] else f"put Parquet or CSV files into {choices['folder']} (docs/market-data.md)")
        await self._look()
        ui.timer(LOOK_S, self._look)

    def _choose(self) -> None:
        """The parameters of the chosen strategy, each empty: then its file's value counts."""
        self._fields.clear()
        self._params = {}
        with self._fields:
            for one in self._ranges.get(self._strategy.value, ()):
                stands = one["now"] if one["now"] is not None else one["default"]
                told = f"its file: {('no', 'yes')[stands] if isinstance(stands, bool) else stands}"
                bounds = f", {one['low']} to {one['high']}" if one["low"] is not None else ""
                made: Any
                if one["type"] in ("int", "float"):
                    made = ui.number(one["name"], step=1 if one["type"] == "int" else None)
                else:
                    made = ui.select({None: "as its file", True: "yes", False: "no"}, value=None, label=one["name"])
                made.props(f'dense outlined stack-label hint="{told}{bounds}" data-testid=param-{one["name"]}')
                self._params[one["name"]] = made

    async def _start(self) -> None:
        given = {name: made.value for name, made in self._params.items() if made.value is not None}
        params = {
            name: int(one) if isinstance(one, float) and math.isfinite(one) and one.is_integer() else one for name, one in given.items()
        }
        asked = {"strategy": self._strategy.value, "data": self._data.value, "params": params, "instrument": self._instrument.value or None}
        asked |= {"from": self._from.value or None, "to": self._to.value or None}
        if await self._visit.act(self._visit.api.post("/api/v1/backtests", asked), "the run is queued") is not None:
            await self._look()

    async def _look(self) -> None:
        try:
            runs = await self._visit.api.get("/api/v1/backtests")
        except Refused as no:
            self._empty.set_text(no.text)
            return
        self._empty.set_visibility(not runs)
        for run in runs:
            row = self._rows.get(run["id"])
            if row is None:
                with self._list:
                    row = self._rows[run["id"]] = _Row(self._visit, self._look_at)
                    row.move_to_top()
            await row.update(run)

    def _look_at(self, run: dict[str, Any]) -> None:
        """Show its report in a frame that can do nothing but draw."""
        address = f"/reports/{run['id']}"
        self._title.set_text(f"{run['strategy']} on {run['data']}")
        self._apart.props(f'href="{address}"')
        self._frame.props(f'src="{address}"')
        self._report.set_visibility(True)


class _Row:
    """One run."""

    def __init__(self, visit: Visit, look_at: Any) -> None:
        self._visit = visit
        self._look_at = look_at
        self._run: dict[str, Any] = {}
        with ui.element("div").classes("run").props("data-testid=run") as self._row:
            self._state = ui.label("").classes("badge")
            with ui.column().classes("says"):
                self._name = ui.label("").classes("title")
                self._what = ui.label("").classes("note")
            self._bar = ui.linear_progress(0, show_value=False, size="6px").classes("progress")
            self._net = ui.label("").classes("value")
            self._open = ui.button("Report", icon="insert_chart", on_click=lambda: look_at(self._run)).props("flat dense no-caps")
            self._end = ui.button(icon="close", on_click=self._cancel).props('flat dense round aria-label="End the run"')

    def move_to_top(self) -> None:
        self._row.move(target_index=0)

    async def update(self, run: dict[str, Any]) -> None:
        if run == self._run:
            return
        before, self._run = self._run.get("state"), run
        set_badge(self._state, run["state"], _TONES[run["state"]])
        self._name.set_text(f"{run['strategy']} on {run['data']}")
        params = ", ".join(f"{name} {value}" for name, value in run["params"].items())
        self._what.set_text(run["error"] or ", ".join(filter(None, (moment(run["begun_at"]), params))))
        self._what.classes(replace="note wrong" if run["error"] else "note")
        alive = run["state"] in ("queued", "running")
        self._bar.set_visibility(alive)
        self._bar.set_value(run["progress"])
        self._open.set_visibility(run["report"])
        self._end.set_visibility(alive and self._visit.may("trader"))
        if run["state"] == "done" and before != "done":
            found = (await self._visit.api.get(f"/api/v1/backtests/{run['id']}"))["result"]["metrics"]
            self._net.set_text(f"{rupees(found['net'], sign=True)}, {found['trades']} trades")
            self._net.classes(replace=f"value {gain(found['net'])}")

    async def _cancel(self) -> None:
        await self._visit.act(self._visit.api.delete(f"/api/v1/backtests/{self._run['id']}"), "the run is ended")
