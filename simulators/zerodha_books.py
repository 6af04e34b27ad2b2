"""Kite's account routes: order book, history, trades, positions, holdings, funds, and margins and charges of what might be ordered."""

import json
from datetime import datetime
from typing import Any

from simulators.orders import HistoryRow, OrderParams, OrderRefused, SimOrder
from simulators.wire import Request
from simulators.world import World
from simulators.zerodha_errors import NO_SUCH_ORDER, ApiError, bad_input, refused
from simulators.zerodha_orders import NOT_LISTED, OrderDesk
from simulators.zerodha_rows import (
    charges_row,
    holding_row,
    margin_row,
    order_row,
    position_row,
    segment_margins,
    trade_row,
)
from simulators.zerodha_session import Call


class Books:
    """What an account has done and has; reads the exchange's own records."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk

    def orders(self, call: Call) -> list[dict[str, Any]]:
        account = self._world.exchange.account(call.user)
        return [order_row(order, None, self._desk.details(order)) for order in account.orders.values()]

    def history(self, call: Call) -> list[dict[str, Any]]:
        order = self._order(call.user, call.parts[1])
        return [order_row(order, row, self._desk.details(order)) for row in order.history]

    def trades(self, call: Call) -> list[dict[str, Any]]:
        account = self._world.exchange.account(call.user)
        trades = self._order(call.user, call.parts[1]).trades if len(call.parts) == 3 else account.trades
        return [trade_row(trade, account.orders[trade.order_id].listing) for trade in trades]

    def lagging(self, call: Call, then: datetime) -> list[dict[str, Any]]:
        """Orders and trades as they stood at `then`."""
        account = self._world.exchange.account(call.user)
        if call.parts[0] == "trades" or len(call.parts) == 3:
            wanted = call.parts[1] if len(call.parts) == 3 else ""
            trades = [trade for trade in account.trades if trade.at <= then and wanted in ("", trade.order_id)]
            return [trade_row(trade, account.orders[trade.order_id].listing) for trade in trades]
        if len(call.parts) == 2:
            order = self._order(call.user, call.parts[1])
            rows = [row for row in order.history if row.at <= then]
            if not rows:
                raise ApiError(400, "OrderException", NO_SUCH_ORDER)
            return [order_row(order, row, self._desk.details(order)) for row in rows]
        stood: list[tuple[SimOrder, HistoryRow]] = []
        for order in account.orders.values():
            rows = [row for row in order.history if row.at <= then]
            if rows:
                stood.append((order, rows[-1]))
        return [order_row(order, row, self._desk.details(order)) for order, row in stood]

    def _order(self, user: str, order_id: str) -> SimOrder:
        order = self._world.exchange.account(user).orders.get(order_id)
        if order is None:
            raise ApiError(400, "OrderException", NO_SUCH_ORDER)
        return order

    def positions(self, call: Call) -> dict[str, Any]:
        positions = self._world.exchange.account(call.user).positions.values()
        return {
            "net": [position_row(one, net=True) for one in positions],
            "day": [position_row(one, net=False) for one in positions if one.day_buy_quantity or one.day_sell_quantity],
        }

    def convert(self, call: Call) -> bool:
        form = call.request.form()
        try:
            key = f"{form['exchange']}:{form['tradingsymbol']}"
            quantity = int(form["quantity"])
            side, old, new = form["transaction_type"], form["old_product"], form["new_product"]
        except (KeyError, ValueError) as error:
            raise bad_input("Missing or empty field in position conversion.") from error
        if key not in self._world.market.listings:
            raise bad_input(NOT_LISTED)
        try:
            self._world.exchange.convert(call.user, key, side, quantity, old, new)
        except OrderRefused as error:
            raise refused(error) from error
        return True

    def holdings(self, call: Call) -> list[dict[str, Any]]:
        return [holding_row(one) for one in self._world.exchange.account(call.user).holdings.values()]

    def margins(self, call: Call) -> dict[str, Any]:
        segments = {"equity": segment_margins(self._world.exchange.funds(call.user)), "commodity": segment_margins(None)}
        if len(call.parts) == 3:
            if call.parts[2] not in segments:
                raise bad_input("Invalid `segment`.")
            return segments[call.parts[2]]
        return segments

    def order_margins(self, call: Call) -> list[dict[str, Any]]:
        return [self._margin(call.user, order) for order in _listed(call.request)]

    def basket(self, call: Call) -> dict[str, Any]:
        """Initial = legs one by one, final = all together; without a spread benefit the two agree."""
        orders = [self._margin(call.user, order) for order in _listed(call.request)]
        names = ("span", "exposure", "option_premium", "additional", "bo", "cash", "var", "total")
        total = {name: round(sum(order[name] for order in orders), 4) for name in names}
        summed = {"type": "", "tradingsymbol": "", "exchange": "", **total, "pnl": {"realised": 0, "unrealised": 0}, "leverage": 0}
        return {
            "initial": summed,
            "final": dict(summed),
            "orders": [] if call.request.argument("mode") == "compact" else orders,
            "charges": {"total": round(sum(order["charges"]["total"] for order in orders), 4)},
        }

    def _margin(self, user: str, order: dict[str, Any]) -> dict[str, Any]:
        params = self._hypothetical(order)
        listing = self._world.market.listings[params.key]
        price = params.price or self._world.market.quote(params.key).last_price
        charges = self._world.exchange.order_charges(params.key, params.side, params.product, params.quantity, price)
        return margin_row(listing, self._world.exchange.order_margin(params), charges)

    def contract_note(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        for order in _listed(call.request):
            params = self._hypothetical(order)
            price = float(order.get("average_price") or 0)
            charges = self._world.exchange.order_charges(params.key, params.side, params.product, params.quantity, price)
            kept = ("transaction_type", "tradingsymbol", "exchange", "variety", "product", "order_type", "quantity")
            rows.append({**{name: order.get(name) for name in kept}, "price": price, "charges": charges_row(charges)})
        return rows

    def _hypothetical(self, order: dict[str, Any]) -> OrderParams:
        try:
            key = f"{order['exchange']}:{order['tradingsymbol']}"
            params = OrderParams(
                key=key,
                side=str(order["transaction_type"]),
                quantity=int(order["quantity"]),
                order_type=str(order["order_type"]),
                product=str(order["product"]),
                price=float(order.get("price") or 0),
                trigger_price=float(order.get("trigger_price") or 0),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise bad_input("Missing or invalid field in the list of orders.") from error
        if key not in self._world.market.listings:
            raise bad_input(NOT_LISTED)
        return params

    def account(self, user: str) -> dict[str, Any]:
        account = self._world.exchange.account(user)
        return {
            "orders": [
                {
                    **order_row(order, None, self._desk.details(order)),
                    "number": self._desk.numbers.get(order.id, 0),
                    "created_at": order.created_at.isoformat(),
                    "history": [order_row(order, row) for row in order.history],
                }
                for order in account.orders.values()
            ],
            "trades": [trade_row(trade, account.orders[trade.order_id].listing) for trade in account.trades],
            "positions": [position_row(one, net=True) for one in account.positions.values()],
            "holdings": [holding_row(one) for one in account.holdings.values()],
            "funds": segment_margins(self._world.exchange.funds(user)),
        }


def _listed(request: Request) -> list[dict[str, Any]]:
    try:
        value = json.loads(request.body)
    except ValueError as error:
        raise bad_input("Invalid JSON in the request body.") from error
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise bad_input("Expected a list of orders.")
    return value
