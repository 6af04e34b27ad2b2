"""Upstox's account routes: order book, details, history, trades, positions, holdings, funds, margins and brokerage."""

from datetime import time
from typing import Any

from simulators.orders import OrderParams, OrderRefused, SimOrder
from simulators.upstox_errors import ApiError, bad, refused
from simulators.upstox_orders import EXCHANGE_PRODUCTS, OrderDesk
from simulators.upstox_rows import charges_row, funds_row, holding_row, margin_row, order_row, position_row, trade_row
from simulators.upstox_session import Call
from simulators.world import World

FUNDS_OPEN_AT = time(5, 30)
MOST_MARGINS = 20


class Books:
    """What an account has done and has; reads the exchange's own records."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk

    def orders(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        for order in self._world.exchange.account(call.user).orders.values():
            seen = [row for row in order.history if row.at <= call.now - call.lag]
            rows += [order_row(order, seen[-1])] if seen else []
        return rows

    def details(self, call: Call) -> dict[str, Any]:
        return order_row(self._desk.own(call.user, call.request.argument("order_id")))

    def history(self, call: Call) -> list[dict[str, Any]]:
        """Each row of an order's life, or of every order with the tag."""
        order_id, tag = call.request.argument("order_id"), call.request.argument("tag")
        orders: list[SimOrder] = [self._desk.own(call.user, order_id)] if order_id or not tag else []
        orders = orders or [one for one in self._world.exchange.account(call.user).orders.values() if one.tag == tag]
        return [order_row(order, row) for order in orders for row in order.history if row.at <= call.now - call.lag]

    def trades(self, call: Call) -> list[dict[str, Any]]:
        account, order_id = self._world.exchange.account(call.user), call.request.argument("order_id")
        found = self._desk.own(call.user, order_id).trades if order_id else account.trades
        return [trade_row(trade, account.orders[trade.order_id]) for trade in found if trade.at <= call.now - call.lag]

    def positions(self, call: Call) -> list[dict[str, Any]]:
        return [position_row(one) for one in self._world.exchange.account(call.user).positions.values()]

    def mtf_positions(self, call: Call) -> list[dict[str, Any]]:
        return [row for row in self.positions(call) if row["product"] == "MTF"]

    def holdings(self, call: Call) -> list[dict[str, Any]]:
        return [holding_row(one) for one in self._world.exchange.account(call.user).holdings.values()]

    def convert(self, call: Call) -> dict[str, Any]:
        fields = call.fields()
        listing = self._desk.listing_of(str(fields.get("instrument_token") or ""))
        try:
            old, new = (EXCHANGE_PRODUCTS[fields[name]][listing.kind != "EQ"] for name in ("old_product", "new_product"))
            side, quantity = str(fields["transaction_type"]), int(fields["quantity"])
        except (KeyError, ValueError, TypeError) as error:
            raise bad("UDAPI100036", "Invalid Input") from error
        try:
            self._world.exchange.convert(call.user, listing.key, side, quantity, old, new)
        except OrderRefused as error:
            raise refused(error) from error
        return {"status": "complete"}

    def funds(self, call: Call) -> dict[str, Any]:
        self._funds_are_open(call)
        segments = {"equity": funds_row(self._world.exchange.funds(call.user)), "commodity": funds_row(None)}
        wanted = {"SEC": "equity", "COM": "commodity"}.get(call.request.argument("segment"))
        return {wanted: segments[wanted]} if wanted else segments

    def funds_v3(self, call: Call) -> dict[str, Any]:
        self._funds_are_open(call)
        funds = self._world.exchange.funds(call.user)
        cash = {"total": round(funds.net, 2), "opening_balance": round(funds.opening_balance, 2)}
        used = {"total": round(funds.debits, 2), "margin_blocked": round(funds.span + funds.exposure, 2)}
        available = {"total": round(funds.net, 2), "cash_available_to_trade": cash, "pledge_available_to_trade": {"total": 0.0}}
        return {"available_to_trade": available, "unavailable_to_trade": used}

    def margins(self, call: Call) -> dict[str, Any]:
        lines = call.fields().get("instruments")
        if not isinstance(lines, list) or not 1 <= len(lines) <= MOST_MARGINS:
            raise bad("UDAPI100036", "Invalid Input")
        margins = [margin_row(self._world.exchange.order_margin(self._hypothetical(line))) for line in lines]
        total = round(sum(row["total_margin"] for row in margins), 2)
        return {"margins": margins, "required_margin": total, "final_margin": total}

    def brokerage(self, call: Call) -> dict[str, Any]:
        query = {name: values[-1] for name, values in call.request.arguments().items()}
        params = self._hypothetical({**query, "instrument_key": query.get("instrument_token", "")})
        price = params.price or self._world.market.quote(params.key).last_price
        charges = self._world.exchange.order_charges(params.key, params.side, params.product, params.quantity, price)
        return {"charges": charges_row(charges)}

    def account(self, user: str) -> dict[str, Any]:
        """Everything as the exchange holds it, for tests."""
        account = self._world.exchange.account(user)
        return {
            "orders": [
                {
                    **order_row(order),
                    "number": self._desk.numbers.get(order.id, 0),
                    "created_at": order.created_at.isoformat(),
                    "history": [order_row(order, row) for row in order.history],
                }
                for order in account.orders.values()
            ],
            "trades": [trade_row(trade, account.orders[trade.order_id]) for trade in account.trades],
            "positions": [position_row(one) for one in account.positions.values()],
            "holdings": [holding_row(one) for one in account.holdings.values()],
            "funds": funds_row(self._world.exchange.funds(user)),
        }

    def _funds_are_open(self, call: Call) -> None:
        if call.now.time() < FUNDS_OPEN_AT:
            text = "The Funds service is accessible from 5:30 AM to 12:00 AM IST daily"
            raise ApiError(423, "UDAPI100072", text)

    def _hypothetical(self, line: Any) -> OrderParams:
        try:
            listing = self._desk.listing_of(str(line["instrument_key"]))
            product = EXCHANGE_PRODUCTS[str(line["product"])][listing.kind != "EQ"]
            side, quantity, price = str(line["transaction_type"]), int(line["quantity"]), float(line.get("price") or 0)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise bad("UDAPI100036", "Invalid Input") from error
        return OrderParams(listing.key, side, quantity, "LIMIT", product, price)
