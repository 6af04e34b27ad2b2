"""The shapes Groww sends: order, trade, position, holding, margin and quote rows, built from the exchange's own records."""

from datetime import datetime
from typing import Any

from simulators.groww_names import place, trading_symbol
from simulators.listing import Candle, Listing, Quote
from simulators.orders import HistoryRow, SimFunds, SimHolding, SimMargin, SimOrder, SimPosition, SimTrade, Status

STATUS = {
    Status.RECEIVED: "NEW",
    Status.VALIDATING: "NEW",
    Status.OPEN_PENDING: "ACKED",
    Status.OPEN: "APPROVED",
    Status.TRIGGER_PENDING: "TRIGGER_PENDING",
    Status.MODIFY_VALIDATING: "MODIFICATION_REQUESTED",
    Status.MODIFY_PENDING: "MODIFICATION_REQUESTED",
    Status.MODIFIED: "APPROVED",
    Status.CANCEL_PENDING: "CANCELLATION_REQUESTED",
    Status.AMO_RECEIVED: "NEW",
    Status.COMPLETE: "EXECUTED",
    Status.CANCELLED: "CANCELLED",
    Status.REJECTED: "REJECTED",
}


def stamp(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%S") if at is not None else None


def _names(listing: Listing) -> dict[str, Any]:
    exchange, segment = place(listing)
    return {"trading_symbol": trading_symbol(listing), "exchange": exchange, "segment": segment}


def status_of(order: SimOrder, row: HistoryRow) -> str:
    """Delivery that is bought and done awaits its shares."""
    done = row.status is Status.COMPLETE and order.product == "CNC" and order.side == "BUY"
    return "DELIVERY_AWAITED" if done else STATUS[row.status]


def order_row(order: SimOrder, row: HistoryRow | None = None) -> dict[str, Any]:
    """The order as the list shows it, or as it stood at one row of its history."""
    row = row or order.history[-1]
    return {
        "groww_order_id": order.id,
        **_names(order.listing),
        "order_status": status_of(order, row),
        "remark": row.message or "",
        "quantity": row.quantity,
        "price": round(row.price, 4),
        "trigger_price": round(row.trigger_price, 4),
        "filled_quantity": row.filled,
        "remaining_quantity": row.pending,
        "average_fill_price": round(row.average_price, 4),
        "deliverable_quantity": row.filled if order.product == "CNC" else 0,
        "amo_status": "PENDING" if row.status is Status.AMO_RECEIVED else "NA",
        "validity": order.validity,
        "order_type": row.order_type.replace("-", "_"),
        "transaction_type": order.side,
        "product": order.product,
        "created_at": stamp(order.created_at),
        "exchange_time": stamp(row.exchange_at),
        "trade_date": f"{order.created_at:%Y-%m-%d}",
        "order_reference_id": order.tag or "",
    }


def status_row(order: SimOrder, row: HistoryRow) -> dict[str, Any]:
    return {
        "groww_order_id": order.id,
        "order_status": status_of(order, row),
        "remark": row.message or "",
        "filled_quantity": row.filled,
        "order_reference_id": order.tag or "",
    }


def trade_row(trade: SimTrade, order: SimOrder) -> dict[str, Any]:
    return {
        "price": round(trade.price, 4),
        "quantity": trade.quantity,
        "groww_order_id": trade.order_id,
        "groww_trade_id": f"GT{trade.id}",
        "exchange_trade_id": trade.id,
        "exchange_order_id": trade.exchange_order_id,
        "trade_status": "EXECUTED",
        **_names(order.listing),
        "product": trade.product,
        "transaction_type": trade.side,
        "remark": "",
        "created_at": stamp(trade.at),
        "trade_date_time": stamp(trade.at),
    }


def position_row(p: SimPosition) -> dict[str, Any]:
    """Bought is credited, sold is debited; `quantity` is net and signed."""
    carried = p.overnight_quantity
    row = {
        **_names(p.listing),
        "product": p.product,
        "quantity": p.quantity,
        "credit_quantity": p.day_buy_quantity,
        "credit_price": p.day_buy_value / p.day_buy_quantity if p.day_buy_quantity else 0.0,
        "debit_quantity": p.day_sell_quantity,
        "debit_price": p.day_sell_value / p.day_sell_quantity if p.day_sell_quantity else 0.0,
        "carry_forward_credit_quantity": max(0, carried),
        "carry_forward_credit_price": p.overnight_price if carried > 0 else 0.0,
        "carry_forward_debit_quantity": max(0, -carried),
        "carry_forward_debit_price": p.overnight_price if carried < 0 else 0.0,
        "net_carry_forward_quantity": carried,
        "net_carry_forward_price": p.overnight_price if carried else 0.0,
        "net_price": p.average_price,
        "realised_pnl": p.pnl - p.unrealised,
        "symbol_isin": "",
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def holding_row(h: SimHolding) -> dict[str, Any]:
    return {
        "isin": "",
        "trading_symbol": trading_symbol(h.listing),
        "quantity": h.quantity + h.t1_quantity,
        "average_price": round(h.average_price, 4),
        "pledge_quantity": 0.0,
        "demat_locked_quantity": 0.0,
        "groww_locked_quantity": float(h.used_quantity),
        "repledge_quantity": 0.0,
        "t1_quantity": float(h.t1_quantity),
        "demat_free_quantity": float(max(0, h.quantity - h.used_quantity)),
        "corporate_action_additional_quantity": 0,
        "active_demat_transfer_quantity": 0,
    }


def funds_row(funds: SimFunds) -> dict[str, Any]:
    free = round(funds.net, 2)
    return {
        "clear_cash": free,
        "net_margin_used": round(funds.debits, 2),
        "brokerage_and_charges": round(funds.charges, 2),
        "collateral_used": 0.0,
        "collateral_available": 0.0,
        "adhoc_margin": 0.0,
        "fno_margin_details": {
            "net_fno_margin_used": round(funds.span + funds.exposure + funds.option_premium, 2),
            "span_margin_used": round(funds.span, 2),
            "exposure_margin_used": round(funds.exposure, 2),
            "future_balance_available": free,
            "option_buy_balance_available": free,
            "option_sell_balance_available": free,
        },
        "equity_margin_details": {
            "net_equity_margin_used": round(funds.delivery, 2),
            "cnc_margin_used": round(funds.delivery, 2),
            "mis_margin_used": 0.0,
            "cnc_balance_available": free,
            "mis_balance_available": free,
        },
    }


def margin_row(margins: list[SimMargin], brokerage: float) -> dict[str, float]:
    row = {
        "exposure_required": sum(one.exposure for one in margins),
        "span_required": sum(one.span for one in margins),
        "option_buy_premium": sum(one.option_premium for one in margins),
        "brokerage_and_charges": brokerage,
        "total_requirement": sum(one.total for one in margins) + brokerage,
        "cash_cnc_margin_required": sum(one.var for one in margins),
        "cash_mis_margin_required": 0.0,
        "physical_delivery_margin_requirement": 0.0,
    }
    return {name: round(value, 2) for name, value in row.items()}


def ohlc_of(quote: Quote) -> dict[str, float]:
    return {"open": quote.open, "high": quote.high, "low": quote.low, "close": quote.close}


def quote_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    """An index has no book, no volume and no limits; its `ohlc` is the text that the documents show."""
    change = round(quote.last_price - quote.close, 4)
    traded = quote.last_time or quote.exchange_time
    row: dict[str, Any] = {
        "last_price": quote.last_price,
        "day_change": change,
        "day_change_perc": round(change * 100 / quote.close, 4) if quote.close else 0.0,
        "ohlc": "{" + ",".join(f"{name}: {value:.2f}" for name, value in ohlc_of(quote).items()) + "}",
        "last_trade_time": int(traded.timestamp() * 1000),
    }
    if listing.kind == "INDEX":
        empty = ("average_price", "bid_price", "bid_quantity", "offer_price", "offer_quantity", "volume", "open_interest", "depth")
        return {**row, **dict.fromkeys(empty)}
    bid, ask = (quote.bids or ((0.0, 0, 0),))[0], (quote.asks or ((0.0, 0, 0),))[0]
    depth = {
        "buy": [{"price": price, "quantity": quantity} for price, quantity, _ in quote.bids[:5]],
        "sell": [{"price": price, "quantity": quantity} for price, quantity, _ in quote.asks[:5]],
    }
    return {
        **row,
        "average_price": quote.average_price,
        "bid_price": bid[0],
        "bid_quantity": bid[1],
        "offer_price": ask[0],
        "offer_quantity": ask[1],
        "depth": depth,
        "upper_circuit_limit": listing.upper_circuit,
        "lower_circuit_limit": listing.lower_circuit,
        "last_trade_quantity": quote.last_quantity,
        "volume": quote.volume,
        "open_interest": quote.oi if listing.expiry else None,
        "previous_open_interest": quote.oi_low if listing.expiry else None,
        "total_buy_quantity": quote.total_buy,
        "total_sell_quantity": quote.total_sell,
    }


def candle_row(candle: Candle, *, with_oi: bool) -> list[Any]:
    return [stamp(candle.start), *candle[1:5], candle.volume, candle.oi if with_oi else None]
