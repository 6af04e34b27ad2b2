"""Breeze's account routes: orders, trades, positions, holdings, funds, margins, and the calculators."""

from datetime import date, datetime
from typing import Any

from simulators.icici_errors import ApiError
from simulators.icici_names import Names
from simulators.icici_orders import OrderDesk, decimal, whole
from simulators.icici_rows import demat_row, holding_row, order_row, position_row, reference, trade_detail, trade_row
from simulators.icici_session import Call
from simulators.orders import OrderParams, SimOrder
from simulators.world import World

SEGMENTS = ("equity", "fno")


class Books:
    """What an account has done and has; reads the exchange's own records. Lists are of one exchange, and empty where there is nothing."""

    def __init__(self, world: World, names: Names, desk: OrderDesk) -> None:
        self._world = world
        self._names = names
        self._desk = desk

    def orders(self, call: Call) -> list[dict[str, Any]]:
        """One order by its id, or all of an exchange."""
        if call.text("order_id"):
            return [self._row(self._desk.own(call), call)]
        return [self._row(order, call) for order in self._of(call) if order.history and order.history[0].at <= call.now - call.lag]

    def trades(self, call: Call) -> list[dict[str, Any]]:
        """The executions of one order, or a row for each order of an exchange that has any."""
        if call.text("order_id"):
            return [trade_detail(trade) for trade in self._desk.own(call).trades if trade.at <= call.now - call.lag]
        rows = []
        for order in self._of(call):
            trades = [trade for trade in order.trades if trade.at <= call.now - call.lag]
            rows += [trade_row(order, self._names.of(order.listing), trades)] if trades else []
        return rows

    def positions(self, call: Call) -> list[dict[str, Any]]:
        return [position_row(one, self._names.of(one.listing)) for one in self._account(call).positions.values()]

    def demat(self, call: Call) -> list[dict[str, Any]]:
        return [demat_row(one, self._names.of(one.listing)) for one in self._account(call).holdings.values()]

    def holdings(self, call: Call) -> list[dict[str, Any]]:
        exchange = _exchange(call)
        return [
            holding_row(one, self._names.of(one.listing))
            for one in self._account(call).holdings.values()
            if one.listing.exchange == exchange
        ]

    def funds(self, call: Call) -> dict[str, Any]:
        """Half of the account's money lies in each of the two segments unless it was moved."""
        funds = self._world.exchange.funds(call.user)
        shares = {name: self._desk.allocated.get((call.user, name), 0.5) for name in SEGMENTS}
        total, used = funds.opening_balance, funds.debits
        blocked = {"equity": max(0.0, funds.delivery), "fno": used - max(0.0, funds.delivery)}
        return {
            "bank_account": "000401000001",
            "total_bank_balance": round(total, 2),
            "allocated_equity": round(total * shares["equity"], 2),
            "allocated_fno": round(total * shares["fno"], 2),
            "allocated_commodity": 0.0,
            "allocated_currency": 0.0,
            "block_by_trade_equity": round(blocked["equity"], 2),
            "block_by_trade_fno": round(blocked["fno"], 2),
            "block_by_trade_commodity": 0.0,
            "block_by_trade_currency": 0.0,
            "block_by_trade_balance": round(used, 2),
            "unallocated_balance": f"{total * (1 - sum(shares.values())):.2f}",
        }

    def move_funds(self, call: Call) -> dict[str, Any]:
        """Allocate to a segment (debit) or take back from it (credit)."""
        kind, segment, amount = call.text("transaction_type").lower(), call.text("segment").lower(), decimal(call.body, "amount")
        if kind not in ("debit", "credit"):
            raise ApiError("Transaction-Type should be either 'debit' or 'credit'")
        if segment not in SEGMENTS or amount <= 0:
            raise ApiError("Amount should be more than 0" if amount <= 0 else "Segment cannot be empty")
        share = amount / max(1.0, self._world.exchange.funds(call.user).opening_balance)
        held = self._desk.allocated.get((call.user, segment), 0.5)
        self._desk.allocated[call.user, segment] = max(0.0, held + (share if kind == "debit" else -share))
        return {"status": "Success"}

    def margin(self, call: Call) -> dict[str, Any]:
        funds = self._world.exchange.funds(call.user)
        _exchange(call)
        return {
            "limit_list": [],
            "cash_limit": round(funds.net, 2),
            "amount_allocated": round(funds.opening_balance, 2),
            "block_by_trade": round(funds.debits, 2),
            "isec_margin": 0.0,
        }

    def add_margin(self, call: Call) -> dict[str, Any]:
        raise ApiError("Margin cannot be added to this position.")

    def margins(self, call: Call) -> dict[str, Any]:
        """margin_calculator; the reply's spelling is the broker's."""
        lines = call.body.get("list_of_positions")
        if not isinstance(lines, list) or not lines:
            raise ApiError("list_of_positions cannot be empty")
        span = other = value = 0.0
        rows = []
        for line in lines:
            fields = {"exchange_code": call.text("exchange_code") or "NFO", **line} if isinstance(line, dict) else {}
            one = self._desk.scrip(fields)
            side = {"buy": "BUY", "sell": "SELL"}.get(str(fields.get("action", "")).lower(), "")
            if not side:
                raise ApiError("Action should be either 'buy', or 'sell'")
            price = decimal(fields, "price") or self._world.market.quote(one.listing.key).last_price
            params = OrderParams(one.listing.key, side, whole(fields, "quantity"), "LIMIT", "NRML", price)
            margin = self._world.exchange.order_margin(params)
            span, other, value = span + margin.span, other + margin.total - margin.span, value + params.quantity * price
            rows.append(line)
        return {
            "margin_calulation": rows,
            "non_span_margin_required": f"{other:.2f}",
            "order_value": f"{value:.2f}",
            "order_margin": "0",
            "trade_margin": None,
            "block_trade_margin": "0",
            "span_margin_required": f"{span:.2f}",
        }

    def preview(self, call: Call) -> dict[str, Any]:
        """What an order would cost in charges; its fields have a spelling of their own for the price type."""
        one = self._desk.scrip(call.body)
        price = decimal(call.body, "price") or self._world.market.quote(one.listing.key).last_price
        side = call.text("action").upper()
        product = "CNC" if one.listing.kind == "EQ" else "NRML"
        charges = self._world.exchange.order_charges(one.listing.key, side, product, whole(call.body, "quantity"), price)
        exchange = charges.exchange_turnover
        return {
            "brokerage": round(charges.brokerage, 4),
            "exchange_turnover_charges": round(exchange, 4),
            "stamp_duty": round(charges.stamp, 4),
            "stt": round(charges.transaction_tax, 4),
            "sebi_charges": round(charges.sebi, 4),
            "gst": round(charges.gst, 4),
            "total_turnover_and_sebi_charges": round(exchange + charges.sebi, 4),
            "total_other_charges": round(charges.total - charges.brokerage, 4),
            "total_brokerage": round(charges.total, 4),
        }

    def limits(self, call: Call) -> dict[str, Any]:
        """fnolmtpriceandqtycal: an aggressive limit for a trigger, five percent beyond it."""
        trigger = decimal(call.body, "stop_loss_trigger")
        sign = 1 if call.text("order_flow").lower() == "buy" else -1
        price = round(trigger * (1 + sign * 0.05), 2)
        return {
            "available_quantity": call.text("available_quantity") or "0",
            "action_id": "0",
            "order_margin": "0",
            "limit_rate": f"{price:.2f}",
        }

    def account(self, user: str) -> dict[str, Any]:
        """Everything as the exchange holds it, for tests."""
        account = self._world.exchange.account(user)
        return {
            "orders": [
                {
                    **order_row(order, self._names.of(order.listing)),
                    "user_remark": order.tag,
                    "number": self._desk.numbers.get(order.id, 0),
                    "filled": order.filled,
                    "created_at": order.created_at.isoformat(),
                    "history": [str(row.status) for row in order.history],
                }
                for order in account.orders.values()
            ],
            "trades": [{**trade_detail(trade), "order_id": reference(account.orders[trade.order_id])} for trade in account.trades],
            "positions": [position_row(one, self._names.of(one.listing)) for one in account.positions.values()],
            "funds": round(self._world.exchange.funds(user).net, 2),
        }

    def _account(self, call: Call) -> Any:
        return self._world.exchange.account(call.user)

    def _row(self, order: SimOrder, call: Call) -> dict[str, Any]:
        seen = [row for row in order.history if row.at <= call.now - call.lag]
        return order_row(order, self._names.of(order.listing), seen[-1] if seen else order.history[0])

    def _of(self, call: Call) -> list[SimOrder]:
        """The orders of an exchange placed within from_date and to_date, whose Z means IST."""
        exchange, start, end = _exchange(call), _moment(call, "from_date"), _moment(call, "to_date")
        return [
            order
            for order in self._account(call).orders.values()
            if order.listing.exchange == exchange and start <= order.created_at.date() <= end
        ]


def _exchange(call: Call) -> str:
    exchange = call.text("exchange_code").upper()
    if not exchange:
        raise ApiError("Exchange-Code cannot be empty")
    return exchange


def _moment(call: Call, name: str) -> date:
    text = call.text(name)
    if not text:
        return call.now.date()
    try:
        return datetime.fromisoformat(text.replace("Z", "+05:30")).date()
    except ValueError as error:
        raise ApiError(f"Invalid {name}") from error
