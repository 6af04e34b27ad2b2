"""Groww's account routes: order list in pages, detail, status, trades of one order, positions, holdings, margins."""

from typing import Any

from simulators.groww_errors import bad, missing, refused
from simulators.groww_names import place, trading_symbol
from simulators.groww_orders import PRODUCTS, OrderDesk, decimal, whole
from simulators.groww_rows import funds_row, holding_row, margin_row, order_row, position_row, status_row, trade_row
from simulators.groww_session import Call
from simulators.orders import HistoryRow, OrderParams, OrderRefused, SimOrder
from simulators.world import World

SEGMENTS = ("CASH", "FNO", "COMMODITY")
PAGE_SIZE, MOST_ROWS = 25, 100


class Books:
    """What an account has done and has; reads the exchange's own records."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk

    def orders(self, call: Call) -> dict[str, Any]:
        """A page of a segment's orders, the newest first."""
        segment = _segment(call, "CASH")
        rows = [
            order_row(order, seen)
            for order in reversed(self._world.exchange.account(call.user).orders.values())
            if place(order.listing)[1] == segment and (seen := _seen(order, call)) is not None
        ]
        return {"order_list": _page(call, rows)}

    def detail(self, call: Call) -> dict[str, Any]:
        order = self._desk.own(call.user, call.tail, _segment(call))
        return order_row(order, _known(order, call))

    def status(self, call: Call) -> dict[str, Any]:
        order = self._desk.own(call.user, call.tail, _segment(call))
        return status_row(order, _known(order, call))

    def status_by_reference(self, call: Call) -> dict[str, Any]:
        order = self._desk.by_reference(call.user, call.tail, _segment(call))
        return status_row(order, _known(order, call))

    def trades(self, call: Call) -> dict[str, Any]:
        order = self._desk.own(call.user, call.tail, _segment(call))
        rows = [trade_row(trade, order) for trade in order.trades if trade.at <= call.now - call.lag]
        return {"trade_list": _page(call, rows)}

    def positions(self, call: Call) -> dict[str, Any]:
        segment = _segment(call, "CASH")
        held = self._world.exchange.account(call.user).positions.values()
        return {"positions": [position_row(one) for one in held if place(one.listing)[1] == segment]}

    def position(self, call: Call) -> dict[str, Any]:
        symbol = call.argument("trading_symbol")
        return {"positions": [row for row in self.positions(call)["positions"] if row["trading_symbol"] == symbol]}

    def holdings(self, call: Call) -> dict[str, Any]:
        return {"holdings": [holding_row(one) for one in self._world.exchange.account(call.user).holdings.values()]}

    def funds(self, call: Call) -> dict[str, Any]:
        return funds_row(self._world.exchange.funds(call.user))

    def order_margins(self, call: Call) -> dict[str, float]:
        lines, segment = call.body, _segment(call)
        if not isinstance(lines, list) or not lines or not all(isinstance(line, dict) for line in lines):
            raise bad("a list of orders was expected")
        margins, charges = [], 0.0
        for line in lines:
            listing = self._desk.listing_of({**line, "segment": segment})
            if line.get("product") not in PRODUCTS:
                raise bad("product is missing or unknown")
            side, product, quantity = str(line.get("transaction_type")), str(line["product"]), whole(line, "quantity")
            price = decimal(line, "price") or self._world.market.quote(listing.key).last_price
            try:
                margins.append(self._world.exchange.order_margin(OrderParams(listing.key, side, quantity, "LIMIT", product, price)))
            except OrderRefused as error:
                raise refused(error) from error
            charges += self._world.exchange.order_charges(listing.key, side, product, quantity, price).total
        return margin_row(margins, charges)

    def account(self, user: str) -> dict[str, Any]:
        """Everything as the exchange holds it, for tests."""
        account = self._world.exchange.account(user)
        return {
            "orders": [
                {
                    **order_row(order),
                    "number": self._desk.numbers.get(order.id, 0),
                    "history": [order_row(order, row) for row in order.history],
                }
                for order in account.orders.values()
            ],
            "trades": [trade_row(trade, account.orders[trade.order_id]) for trade in account.trades],
            "positions": [position_row(one) for one in account.positions.values()],
            "holdings": [holding_row(one) for one in account.holdings.values()],
            "funds": funds_row(self._world.exchange.funds(user)),
        }


def _segment(call: Call, default: str = "") -> str:
    """The segment that is asked about; which one a request without any means is not documented."""
    segment = call.argument("segment") or default
    if segment not in SEGMENTS:
        raise bad("segment is missing or unknown")
    return segment


def _seen(order: SimOrder, call: Call) -> HistoryRow | None:
    return next((row for row in reversed(order.history) if row.at <= call.now - call.lag), None)


def _known(order: SimOrder, call: Call) -> HistoryRow:
    row = _seen(order, call)
    if row is None:
        raise missing(f"Requested entity does not exist: {trading_symbol(order.listing)}")
    return row


def _page(call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        page, size = int(call.argument("page") or 0), int(call.argument("page_size") or PAGE_SIZE)
    except ValueError as error:
        raise bad("page and page_size are whole numbers") from error
    if page < 0 or not 1 <= size <= MOST_ROWS:
        raise bad(f"page_size is 1 to {MOST_ROWS}")
    return rows[page * size : (page + 1) * size]
