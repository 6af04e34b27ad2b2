"""A small form for one order by hand, sent as `POST /api/v1/trades/bulk` with one order: the gate holds as for every other."""

from typing import Any

from nicegui import ui

from api.dashboard.frame import KINDS
from api.dashboard.parts import ask, card, named, price
from api.dashboard.visit import Visit, refused

SAID_LIVE = frozenset({"live", "practice-live"})  # accounts whose orders leave the house: the route wants `live` said


class OrderForm:
    """Instrument, lots or units, a limit or none; buy or sell. One question, then it is sent."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        with card("Order by hand"):
            self._symbol = named(ui.input("Instrument", placeholder="NIFTY_FUT or NSE:SBIN").props("outlined dense"), "symbol")
            with ui.row().classes("form-row"):
                self._lots = named(ui.number("Lots", value=1, min=1, precision=0).props("outlined dense").classes("grow"), "lots")
                self._units = named(ui.number("or units", min=1, precision=0).props("outlined dense").classes("grow"), "quantity")
            with ui.row().classes("form-row"):
                limit = ui.number("Limit price", placeholder="market, capped", min=0.05).props("outlined dense").classes("grow")
                self._limit = named(limit, "limit")
                products = {"MIS": "Intraday", "NRML": "Carry", "CNC": "Delivery"}
                self._product = ui.select(products, value="MIS", label="Product").props("outlined dense").classes("grow")
            with ui.row().classes("form-row"):
                for side, colour in (("BUY", "positive"), ("SELL", "negative")):
                    button = ui.button(side.capitalize(), on_click=lambda side=side: self._send(side))
                    named(button.props(f"unelevated no-caps color={colour}").classes("grow"), side.lower())
            self._told = named(ui.label("").classes("note"), "order-told")

    async def _send(self, side: str) -> None:
        order = self._order(side)
        if order is None:
            return
        status = self._visit.boards.look().status
        kind = str(status.get("kind", ""))
        _, word, means = KINDS.get(kind, ("", "?", "no account is known"))
        size = f"{order['lots']} lot(s)" if "lots" in order else f"{order['quantity']} units"
        at = f"limit {price(order['price'])}" if "price" in order else "at market, capped"
        question = f"{side} {size} {order['symbol']}, {at}, on {status.get('account')} ({word}: {means})."
        if not await ask(f"{side.capitalize()}?", question, f"{side.capitalize()} ({word})", danger=kind == "live"):
            return
        body = {"broker_type": status.get("broker"), "account": status.get("account"), "live": kind in SAID_LIVE, "orders": [order]}
        answer = await self._visit.act(self._visit.api.post("/api/v1/trades/bulk", body))
        if answer is None:
            return
        [result] = answer["results"]
        if result["success"]:
            filled = f", {result['filled']} at {price(result['execution_price'])}" if result["filled"] else ""
            self._told.set_text(f"{result['status']}{filled}")
            ui.notify(f"{side} {order['symbol']}: {result['status']}{filled}", type="positive")
        else:
            self._told.set_text(f"{result['status']}: {result['error']}")
            refused(f"{result['status']}: {result['error']}")

    def _order(self, side: str) -> dict[str, Any] | None:
        symbol = (self._symbol.value or "").strip().upper()
        if not symbol or not (self._lots.value or self._units.value):
            ui.notify("an order needs an instrument, and lots or units", type="warning")
            return None
        order: dict[str, Any] = {"symbol": symbol, "direction": side, "product_type": self._product.value}
        if self._units.value:
            order["quantity"] = int(self._units.value)
        else:
            order["lots"] = int(self._lots.value)
        if self._limit.value:
            order |= {"price": float(self._limit.value), "order_type": "LIMIT"}
        return order
