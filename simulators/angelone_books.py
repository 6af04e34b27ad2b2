"""Angel One's account routes: order book, trade book, one order, positions, holdings, funds, conversion, margins and charges."""

from typing import Any

from simulators.angelone_errors import ApiError
from simulators.angelone_names import Names, Scrip
from simulators.angelone_rows import (
    ORDER_TYPES,
    PRODUCTS,
    charge_lines,
    funds_row,
    holding_row,
    order_row,
    position_row,
    trade_row,
    unique_id,
)
from simulators.angelone_session import Call
from simulators.orders import OrderParams, OrderRefused, SimCharges
from simulators.world import World

MOST_MARGINS = 50


class Books:
    """What an account has done and has; an empty book is null, as the broker has it."""

    def __init__(self, world: World, names: Names, numbers: dict[str, int]) -> None:
        self._world = world
        self._names = names
        self._numbers = numbers

    def orders(self, call: Call) -> list[dict[str, Any]] | None:
        then = call.now - call.lag
        rows = []
        for order in self._world.exchange.account(call.user).orders.values():
            stood = [row for row in order.history if row.at <= then]
            if stood:
                rows.append(order_row(order, self._names.of(order.listing), stood[-1]))
        return rows or None

    def order(self, call: Call) -> dict[str, Any]:
        for order in self._world.exchange.account(call.user).orders.values():
            if unique_id(order) == call.tail:
                return order_row(order, self._names.of(order.listing))
        raise ApiError("AB1013")

    def trades(self, call: Call) -> list[dict[str, Any]] | None:
        account, then = self._world.exchange.account(call.user), call.now - call.lag
        return [
            trade_row(trade, self._names.of(account.orders[trade.order_id].listing)) for trade in account.trades if trade.at <= then
        ] or None

    def positions(self, call: Call) -> list[dict[str, Any]] | None:
        positions = self._world.exchange.account(call.user).positions.values()
        return [position_row(one, self._names.of(one.listing)) for one in positions] or None

    def holdings(self, call: Call) -> list[dict[str, Any]] | None:
        holdings = self._world.exchange.account(call.user).holdings.values()
        return [holding_row(one, self._names.of(one.listing)) for one in holdings] or None

    def all_holdings(self, call: Call) -> dict[str, Any]:
        rows = self.holdings(call) or []
        invested = sum(row["averageprice"] * row["quantity"] for row in rows)
        profit = sum(row["profitandloss"] for row in rows)
        total = {
            "totalholdingvalue": round(invested + profit, 2),
            "totalinvvalue": round(invested, 2),
            "totalprofitandloss": round(profit, 2),
            "totalpnlpercentage": round(profit / invested * 100, 2) if invested else 0,
        }
        return {"holdings": rows, "totalholding": total}

    def funds(self, call: Call) -> dict[str, str]:
        return funds_row(self._world.exchange.funds(call.user))

    def convert(self, call: Call) -> None:
        one = self._names.find(call.text("exchange"), call.text("symboltoken"))
        old, new = PRODUCTS.get(call.text("oldproducttype")), PRODUCTS.get(call.text("newproducttype"))
        if one is None or old is None or new is None:
            raise ApiError("AB1017")
        try:
            quantity = int(call.text("quantity"))
            self._world.exchange.convert(call.user, one.listing.key, call.text("transactiontype"), quantity, old, new)
        except (ValueError, OrderRefused) as error:
            raise ApiError("AB1017", str(error)) from error

    def margins(self, call: Call) -> dict[str, Any]:
        """All positions together, without a spread's benefit."""
        wanted = call.body.get("positions")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= MOST_MARGINS:
            raise ApiError("AB2000", f"between 1 and {MOST_MARGINS} positions are expected")
        parts = dict.fromkeys(("netPremium", "spanMargin", "marginBenefit", "deliveryMargin", "nonNFOMargin", "totOptionsPremium"), 0.0)
        total = 0.0
        for item in wanted:
            margin = self._world.exchange.order_margin(self._hypothetical(item))
            total += margin.total
            parts["spanMargin"] += margin.span + margin.exposure
            parts["netPremium"] += margin.option_premium
            parts["totOptionsPremium"] += margin.option_premium
            parts["deliveryMargin"] += margin.var
        return {"totalMarginRequired": round(total, 2), "marginComponents": {name: round(value, 2) for name, value in parts.items()}}

    def charges(self, call: Call) -> dict[str, Any]:
        wanted = call.body.get("orders")
        if not isinstance(wanted, list) or not wanted:
            raise ApiError("AB2000", "a list of orders is expected")
        rows: list[dict[str, Any]] = []
        all_charges: list[SimCharges] = []
        traded = 0.0
        for item in wanted:
            try:
                one = self._scrip(str(item["exchange"]), str(item["token"]))
                quantity, price = int(item["quantity"]), float(item["price"])
                product, side = PRODUCTS[str(item["product_type"])], str(item["transaction_type"])
            except (KeyError, ValueError, TypeError) as error:
                raise ApiError("AB2000", "a field of an order is missing or wrong") from error
            charges = self._world.exchange.order_charges(one.listing.key, side, product, quantity, price)
            traded += quantity * price
            rows.append({"total_charges": round(charges.total, 4), "trade_value": quantity * price, "breakup": charge_lines([charges])})
            all_charges.append(charges)
        total = round(sum(row["total_charges"] for row in rows), 4)
        breakup = charge_lines(all_charges)
        return {"summary": {"total_charges": total, "trade_value": traded, "breakup": breakup}, "charges": rows}

    def account(self, user: str) -> dict[str, Any]:
        """The books as the exchange holds them: no lag, no token, no rate limit."""
        account, of = self._world.exchange.account(user), self._names.of
        return {
            "orders": [
                {
                    **order_row(order, of(order.listing)),
                    "number": self._numbers.get(order.id, 0),
                    "created_at": order.created_at.isoformat(),
                    "history": [order_row(order, of(order.listing), row) for row in order.history],
                }
                for order in account.orders.values()
            ],
            "trades": [trade_row(trade, of(account.orders[trade.order_id].listing)) for trade in account.trades],
            "positions": [position_row(one, of(one.listing)) for one in account.positions.values()],
            "holdings": [holding_row(one, of(one.listing)) for one in account.holdings.values()],
            "funds": funds_row(self._world.exchange.funds(user)),
        }

    def _scrip(self, exchange: str, token: str) -> Scrip:
        one = self._names.find(exchange, token)
        if one is None:
            raise ApiError("AB1009")
        return one

    def _hypothetical(self, item: Any) -> OrderParams:
        try:
            one = self._scrip(str(item["exchange"]), str(item["token"]))
            return OrderParams(
                key=one.listing.key,
                side=str(item["tradeType"]),
                quantity=int(item["qty"]),
                order_type=ORDER_TYPES[str(item.get("orderType") or "LIMIT")],
                product=PRODUCTS[str(item["productType"])],
                price=float(item.get("price") or 0),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ApiError("AB2000", "a field of a position is missing or wrong") from error
