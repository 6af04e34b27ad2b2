"""What the broker says the account has: the figures of the dashboard route, with their time, and greyed when the broker did not answer."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from api.dashboard.broker_forms import title
from api.dashboard.parts import Column, Figure, Table, card, clock, gain, moment, named, percent, price, rupees
from api.dashboard.visit import Refused, Visit

EVERY_S = 30.0


class Portfolio:
    """One card; asked when the page stands and every half minute."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        with card("At the broker", "portfolio"):
            with ui.row().classes("head-row wrap"):
                self._whose = ui.label("").classes("strong")
                self._as_of = named(ui.label("asking the broker…").classes("note"), "portfolio-as-of")
                ui.space()
                self._wizard = ui.link("Set up a broker", "/setup").classes("act-link")
                self._wizard.set_visibility(False)
            self._body = named(ui.column().classes("full"), "portfolio-body")
            with self._body:
                with ui.row().classes("figures"):
                    self._value, self._unused = Figure("Portfolio", "portfolio-value"), Figure("Unused funds", "unused-funds")
                    self._allocated, self._profit = Figure("Allocated", "allocated-funds"), Figure("Overall profit", "overall-profit")
                with ui.element("div").classes("grid"):
                    self._ongoing = self._trades()
                    self._recent = self._executions()
                    self._days = self._week()
        ui.timer(EVERY_S, self._load)

    def _trades(self) -> Table:
        with ui.column().classes("third"):
            ui.label("Ongoing trades").classes("caption")
            return Table(
                [
                    Column("stock", "Stock"),
                    Column("quantity", "Quantity", lambda value: f"{value:,d}", right=True),
                    Column("bought", "Bought", price, right=True),
                    Column("profit", "Profit", lambda value: rupees(value, sign=True), right=True, colour=gain),
                ],
                empty="no open position",
                name="ongoing-trades",
            )

    def _executions(self) -> Table:
        with ui.column().classes("third"):
            ui.label("Recent trades").classes("caption")
            return Table(
                [
                    Column("time", "Time", clock),
                    Column("stock", "Stock"),
                    Column("side", "Side", colour=lambda value: "buy" if value == "BUY" else "sell"),
                    Column("quantity", "Quantity", right=True),
                    Column("price", "Price", price, right=True),
                ],
                empty="no execution today",
                name="recent-trades",
                rows=5,
            )

    def _week(self) -> Table:
        with ui.column().classes("third"):
            ui.label("Last days").classes("caption")
            return Table(
                [
                    Column("date", "Day"),
                    Column("value", "Value", rupees, right=True),
                    Column("profit", "Profit", lambda value: rupees(value, sign=True), right=True, colour=gain),
                ],
                empty="no day is stored yet",
                name="last-days",
            )

    async def _load(self) -> None:
        try:
            found: Mapping[str, Any] = await self._visit.api.get("/api/v1/dashboard/dashboard")
        except Refused as no:
            self._as_of.set_text(no.text)
            return
        missing = found["broker"] is None
        self._wizard.set_visibility(missing and self._visit.may("trader"))
        self._body.set_visibility(not missing)
        self._whose.set_text("" if missing else f"{title(found['broker'])} · {found['account_kind'] or 'not connected'}")
        self._as_of.set_text(_age(found, missing))
        self._as_of.classes(add="stale-word") if found["stale"] and not missing else self._as_of.classes(remove="stale-word")
        self._body.classes(add="old") if found["stale"] else self._body.classes(remove="old")
        overview, profit = found["portfolio_overview"], found["overall_profit"]
        self._value.show(rupees(overview["value"]), percent(overview["change_percentage"]) if overview["change_percentage"] else "")
        self._unused.show(rupees(found["unused_funds"]))
        self._allocated.show(rupees(found["allocated_funds"]))
        share = percent(profit["percentage"]) if profit["percentage"] is not None else ""
        self._profit.show(rupees(profit["value"], sign=True), share, gain(profit["value"]))
        self._ongoing.show(found["ongoing_trades"])
        self._recent.show(found["recent_trades"])
        self._days.show(list(reversed(profit["last_7_days"])))


def _age(found: Mapping[str, Any], missing: bool) -> str:
    if missing:
        return "no broker of yours is set up here; practising needs none"
    if found["stale"]:
        last = f"as of {moment(found['as_of'])}" if found["as_of"] else "it has never answered"
        return f"STALE, {last}: {found['error']}"
    return f"as of {clock(found['as_of'])} · {found['source']}"
