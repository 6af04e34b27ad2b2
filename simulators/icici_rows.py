"""The shapes Breeze sends: order, trade, position, holding and quote rows, all texts, built from the exchange's own records."""

from datetime import datetime
from typing import Any

from simulators.icici_names import Scrip, isin
from simulators.listing import Quote
from simulators.orders import HistoryRow, SimHolding, SimOrder, SimPosition, SimTrade, Status

LETTERS = {
    "Requested": "R", "Queued": "Q", "Ordered": "O", "Partially Executed": "P", "Executed": "E", "Rejected": "J", "Expired": "X",
    "Partially Executed And Expired": "B", "Partially Executed And Cancelled": "D", "Cancelled": "C",
}  # fmt: skip
_EARLY = {
    Status.RECEIVED: "Requested",
    Status.VALIDATING: "Requested",
    Status.AMO_RECEIVED: "Requested",
    Status.OPEN_PENDING: "Queued",
    Status.COMPLETE: "Executed",
    Status.REJECTED: "Rejected",
}
PRODUCTS = {"CNC": "Cash", "MTF": "Mtf", "MIS": "Margin"}
_PRODUCT_LETTERS = {"Cash": "C", "Mtf": "M", "Margin": "M"}


def reference(order: SimOrder) -> str:
    """`20261120N300001234` for shares, eighteen digits for contracts."""
    return f"20{order.id[:6]}{'N3' if order.listing.kind == 'EQ' else '14'}{order.id[-8:]}"


def status(order: SimOrder, row: HistoryRow | None = None) -> str:
    """The broker's label of the order as it stood in `row`, or stands now."""
    now, filled = (row.status, row.filled) if row is not None else (order.status, order.filled)
    if now in _EARLY:
        return _EARLY[now]
    if now is Status.CANCELLED:
        asked = order.validity == "IOC" or any(one.status is Status.CANCEL_PENDING for one in order.history)
        end = "Cancelled" if asked else "Expired"
        return f"Partially Executed And {end}" if filled else end
    return "Partially Executed" if filled else "Ordered"


def order_row(order: SimOrder, one: Scrip, row: HistoryRow | None = None) -> dict[str, Any]:
    """A row of the order list, as of `row` or now. user_remark is not given back, whatever was sent."""
    seen = row or order.history[-1]
    stop = seen.order_type in ("SL", "SL-M")
    return {
        "order_id": reference(order),
        "exchange_order_id": order.exchange_order_id if seen.exchange_at is not None else None,
        "exchange_code": one.exchange,
        "stock_code": one.code,
        "product_type": product(order.product, one),
        "action": order.side.capitalize(),
        "order_type": "StopLoss" if stop else "Limit",
        "stoploss": f"{seen.trigger_price:.2f}",
        "quantity": str(seen.quantity),
        "price": f"{seen.price:.2f}",
        "validity": {"DAY": "Day", "IOC": "IOC"}[order.validity],
        "disclosed_quantity": str(order.disclosed_quantity),
        "expiry_date": one.expiry or None,
        "right": one.right if one.expiry else None,
        "strike_price": one.strike,
        "average_price": f"{seen.average_price:.4f}".rstrip("0").rstrip("."),
        "cancelled_quantity": str(seen.cancelled),
        "pending_quantity": str(0 if seen.status in (Status.REJECTED, Status.CANCELLED) else seen.quantity - seen.filled),
        "status": status(order, seen),
        "user_remark": None,
        "order_datetime": f"{order.created_at:%d-%b-%Y %H:%M}",
        "parent_order_id": order.parent_id or "",
        "modification_number": str(order.modifications) if order.modifications else None,
        "exchange_acknowledgement_date": f"{seen.exchange_at:%d-%b-%Y %H:%M:%S}" if seen.exchange_at is not None else None,
        "SLTP_price": None,
        "exchange_acknowledge_number": None,
        "initial_limit": None,
        "intial_sltp": None,
        "LTP": None,
        "limit_offset": None,
        "mbc_flag": None,
        "cutoff_price": None,
        "validity_date": "",
        "message": seen.message,
    }


def product(name: str, one: Scrip) -> str:
    return PRODUCTS[name] if one.listing.kind == "EQ" else one.product


def trade_row(order: SimOrder, one: Scrip, trades: list[SimTrade]) -> dict[str, Any]:
    """A row of the trade list: one order of the day, its executions summed."""
    quantity = sum(trade.quantity for trade in trades)
    value = sum(trade.quantity * trade.price for trade in trades)
    return {
        "book_type": "Trade-Book",
        "trade_date": f"{trades[0].at:%d-%b-%Y}",
        "stock_code": one.code,
        "action": order.side.capitalize(),
        "quantity": str(quantity),
        "average_cost": f"{value / quantity:.2f}",
        "brokerage_amount": "0.00",
        "product_type": product(order.product, one),
        "exchange_code": one.exchange,
        "order_id": reference(order),
        "segment": None,
        "settlement_code": None,
        "dp_id": None,
        "client_id": None,
        "ltp": "0.00",
        "eatm_withheld_amount": "0.00",
        "cash_withheld_amount": "0.00",
        "total_taxes": "0.00",
        "order_type": "StopLoss" if order.order_type == "SL" else "Limit",
        "expiry_date": one.expiry or None,
        "right": one.right if one.expiry else None,
        "strike_price": one.strike if one.expiry else None,
    }


def trade_detail(trade: SimTrade) -> dict[str, Any]:
    """One execution."""
    return {
        "settlement_id": f"{trade.at:%Y}{trade.at.timetuple().tm_yday:03d}",
        "exchange_trade_id": trade.id,
        "executed_quantity": str(trade.quantity),
        "action": trade.side[0],
        "total_transaction_cost": "0",
        "brokerage_amount": "0",
        "taxes": "0",
        "eatm_withheld_amount": "0",
        "cash_withheld_amount": "0",
        "execution_price": f"{trade.price:.2f}",
        "stt": "0",
        "trade_id": f"{trade.at:%Y/%j}/{trade.id}",
        "exchange_trade_time": f"{trade.at:%d-%b-%Y %H:%M:%S}",
    }


def position_row(p: SimPosition, one: Scrip) -> dict[str, Any]:
    """Flat positions of today stay listed, without a side."""
    return {
        "segment": "equity" if one.listing.kind == "EQ" else "fno",
        "product_type": product(p.product, one),
        "exchange_code": one.exchange,
        "stock_code": one.code,
        "expiry_date": one.expiry or None,
        "strike_price": f"{one.strike:.2f}" if one.expiry else None,
        "right": one.right if one.expiry else None,
        "action": "NA" if not p.quantity else "Buy" if p.quantity > 0 else "Sell",
        "quantity": str(abs(p.quantity)),
        "average_price": f"{p.average_price if p.quantity else 0:.2f}",
        "settlement_id": None,
        "margin_amount": None,
        "ltp": f"{p.last_price:.2f}",
        "price": f"{p.last_price:.2f}",
        "stock_index_indicator": "Index" if one.listing.underlying in ("NIFTY", "BANKNIFTY") else "Stock",
        "cover_quantity": None,
        "stoploss_trigger": None,
        "stoploss": None,
        "take_profit": None,
        "available_margin": None,
        "squareoff_mode": None,
        "mtf_sell_quantity": None,
        "mtf_net_amount_payable": None,
        "mtf_expiry_date": None,
        "order_id": "",
        "cover_order_flow": None,
        "cover_order_executed_quantity": None,
        "pledge_status": None,
        "pnl": None,
        "underlying": one.code,
        "order_segment_code": None,
    }


def demat_row(h: SimHolding, one: Scrip) -> dict[str, Any]:
    return {
        "stock_code": one.code,
        "stock_ISIN": isin(one.listing),
        "quantity": str(h.sellable),
        "demat_total_bulk_quantity": str(h.quantity + h.t1_quantity),
        "demat_avail_quantity": "0",
        "blocked_quantity": str(h.used_quantity),
        "demat_allocated_quantity": str(h.sellable),
    }


def holding_row(h: SimHolding, one: Scrip) -> dict[str, Any]:
    change = (h.last_price / h.close_price - 1) * 100 if h.close_price else 0.0
    return {
        "stock_code": one.code,
        "exchange_code": one.exchange,
        "quantity": str(h.quantity + h.t1_quantity),
        "average_price": f"{h.average_price:.2f}",
        "booked_profit_loss": "0",
        "current_market_price": f"{h.last_price:.2f}",
        "change_percentage": f"{change:.2f}",
        "answer_flag": "N",
        "product_type": None,
        "expiry_date": None,
        "strike_price": None,
        "right": None,
        "category_index_per_stock": None,
        "action": None,
        "realized_profit": None,
        "unrealized_profit": f"{h.pnl:.2f}",
        "open_position_value": None,
        "portfolio_charges": None,
    }


def quote_row(one: Scrip, quote: Quote, spot: float) -> dict[str, Any]:
    bid, ask = (quote.bids or ((0.0, 0, 0),))[0], (quote.asks or ((0.0, 0, 0),))[0]
    listing, derivative = one.listing, bool(one.expiry)
    return {
        "exchange_code": one.exchange,
        "product_type": one.product if derivative else "",
        "stock_code": one.code,
        "expiry_date": one.expiry or None,
        "right": one.right if derivative else None,
        "strike_price": one.strike,
        "ltp": quote.last_price,
        "ltt": f"{quote.last_time or quote.exchange_time:%d-%b-%Y %H:%M:%S}",
        "best_bid_price": bid[0],
        "best_bid_quantity": str(bid[1]),
        "best_offer_price": ask[0],
        "best_offer_quantity": str(ask[1]),
        "open": quote.open,
        "high": quote.high,
        "low": quote.low,
        "previous_close": quote.close,
        "ltp_percent_change": round((quote.last_price / quote.close - 1) * 100, 2) if quote.close else 0.0,
        "upper_circuit": listing.upper_circuit,
        "lower_circuit": listing.lower_circuit,
        "total_quantity_traded": str(quote.volume),
        "spot_price": f"{spot:.2f}" if derivative else None,
    }


def chain_row(one: Scrip, quote: Quote, spot: float) -> dict[str, Any]:
    more = {"ltq": str(quote.last_quantity), "open_interest": quote.oi, "chnge_oi": quote.oi - quote.oi_low}
    return {**quote_row(one, quote, spot), **more, "total_buy_qty": str(quote.total_buy), "total_sell_qty": str(quote.total_sell)}


def order_message(order: SimOrder, one: Scrip, row: HistoryRow, now: datetime, sequence: int) -> list[str]:
    """The 47 texts of an `order` event; message type 4 for shares, 6 for contracts."""
    out = [""] * 47
    letter = LETTERS[status(order, row)]
    side = order.side[0]
    kind, validity = ("S" if row.order_type in ("SL", "SL-M") else "L"), ("I" if order.validity == "IOC" else "T")
    ended = row.status in (Status.CANCELLED, Status.REJECTED)
    left = 0 if ended else row.quantity - row.filled
    expired = row.cancelled if letter in "XB" else 0
    cancelled = row.cancelled - expired
    out[0:7] = ["1", "", order.user, "", "249", "5", f"SEQ{sequence}"]
    out[7:11] = [f"{now:%d-%m-%Y}", f"{now:%H:%M:%S}", "Intraday Calls", "N"]
    out[11:14] = ["4" if one.listing.kind == "EQ" else "6", "ACC", one.exchange]
    day = f"{order.created_at:%d-%b-%Y}"
    if one.listing.kind == "EQ":
        out[14:19] = [one.code, side, kind, validity, f"{row.price:.2f}"]
        out[19:25] = [_PRODUCT_LETTERS[PRODUCTS[order.product]], letter, day, day, reference(order), str(row.quantity)]
        out[25:29] = [str(left), str(row.filled), str(cancelled), str(expired)]
        out[29:31] = [str(order.disclosed_quantity), f"{row.trigger_price:.2f}"]
        out[31:39] = ["N", f"{row.price * row.quantity:.2f}", "25", "WEB", "NSE", "2026001", "Cash", "N"]
        out[40], out[42], out[43], out[44], out[46] = day, f"{row.average_price:.2f}", "N", "N", "P"
        return out
    right = {"CE": "C", "PE": "P"}.get(one.listing.kind, "*")
    out[14:21] = [one.code, "F" if one.listing.kind == "FUT" else "O", right, "E", f"{one.strike * 100:.0f}", one.expiry, day]
    out[21:27] = [side, kind, validity, f"{row.price:.2f}", letter, reference(order)]
    out[27:32] = [str(row.quantity), str(row.filled), str(cancelled), str(expired), f"{row.trigger_price:.2f}"]
    out[32:37] = ["N", "25", "WEB", "", day]
    out[38], out[39], out[40], out[46] = "0.00", f"{row.average_price:.2f}", "N", "P"
    return out
