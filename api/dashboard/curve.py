"""The day's result as a curve: after each closed round trip, and with open positions for as long as somebody has been looking."""

from typing import Any

from nicegui import ui

from api.dashboard.visit import Board, Refused, Visit

EVERY_S = 5.0


class Curve:
    """Two lines over the day's clock, in rupees."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._done: list[list[Any]] = []
        self._counted: Any = None
        self._wanted: Any = 0
        self._minutes = -1
        self._chart = ui.echart(_options()).classes("curve").mark("curve").props("data-testid=curve")
        visit.on_live(self._look)
        ui.timer(EVERY_S, self._refresh)

    def _look(self, board: Board) -> None:
        self._wanted = (board.status.get("orders"), str((board.status.get("market") or {}).get("now"))[:10])

    async def _refresh(self) -> None:
        curve = self._visit.boards.curve
        wanted = self._wanted
        if wanted != self._counted:
            try:
                self._done = await self._visit.boards.shared("curve", wanted, self._closed)
            except Refused:
                return  # nothing has run yet
            self._counted = wanted
        elif self._minutes == len(curve):
            return
        self._minutes = len(curve)
        self._chart.options["series"][0]["data"] = self._done
        self._chart.options["series"][1]["data"] = [[at, net] for at, net in curve.items()]
        self._chart.update()

    async def _closed(self) -> list[list[Any]]:
        """[time, net so far] after each closed round trip of the day."""
        report = await self._visit.api.get("/api/v1/report")
        net, found = 0.0, []
        for trip in sorted(report["round_trips"], key=lambda one: str(one["exit_at"])):
            net += trip["net"]
            found.append([str(trip["exit_at"])[:19], round(net, 2)])
        return found


def _options() -> dict[str, Any]:
    soft, line = "#8793a3", "#8793a344"
    return {
        "animation": False,
        "grid": {"left": 62, "right": 14, "top": 28, "bottom": 22},
        "legend": {"top": 0, "right": 0, "itemHeight": 8, "textStyle": {"color": soft, "fontSize": 11}},
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "time",
            "minInterval": 60_000,
            "axisLabel": {"color": soft, "fontSize": 11, "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": line}},
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            "axisLabel": {"color": soft, "fontSize": 11},
            "splitLine": {"lineStyle": {"color": line}},
        },
        "series": [
            {"name": "closed trades, net", "type": "line", "step": "end", "symbolSize": 4, "lineStyle": {"width": 1.5}, "color": "#9a6700"},
            {"name": "with open positions", "type": "line", "showSymbol": False, "lineStyle": {"width": 2}, "color": "#2f8fb3"},
        ],
    }
