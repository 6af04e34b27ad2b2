"""The shapes Upstox sends: order, trade, position, holding, fund and quote rows, built from the exchange's own records."""

from datetime import datetime
from typing import Any

from simulators.listing import Candle, Listing, Quote
from simulators.orders import HistoryRow, SimCharges, SimFunds, SimHolding, SimMargin, SimOrder, SimPosition, SimTrade, Status
from simulators.upstox_names import instrument_key, isin, trading_symbol

STATUS = {
    Status.RECEIVED: "put order req received",
    Status.VALIDATING: "validation pending",
    Status.OPEN_PENDING: "open pending",
    Status.OPEN: "open",
    Status.TRIGGER_PENDING: "trigger pending",
    Status.MODIFY_VALIDATING: "modify validation pending",
    Status.MODIFY_PENDING: "modify pending",
    Status.MODIFIED: "modified",
    Status.CANCEL_PENDING: "cancel pending",
    Status.AMO_RECEIVED: "after market order req received",
    Status.COMPLETE: "complete",
    Status.CANCELLED: "cancelled",
    Status.REJECTED: "rejected",
}
PRODUCTS = {"MIS": "I", "CNC": "D", "NRML": "D", "MTF": "MTF"}
"""The exchange's product -> Upstox's."""


def stamp(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%d %H:%M:%S") if at is not None else None


def _names(listing: Listing) -> dict[str, Any]:
    symbol = trading_symbol(listing)
    return {
        "exchange": listing.exchange,
        "instrument_token": instrument_key(listing),
        "tradingsymbol": symbol,
        "trading_symbol": symbol,
    }


def order_row(order: SimOrder, row: HistoryRow | None = None) -> dict[str, Any]:
    """The order as the book shows it, or as it stood at one row of its history."""
    row = row or order.history[-1]
    return {
        **_names(order.listing),
        "product": PRODUCTS[order.product],
        "price": round(row.price, 4),
        "quantity": row.quantity,
        "status": STATUS[row.status],
        "guid": None,
        "tag": order.tag,
        "placed_by": order.placed_by,
        "order_type": row.order_type,
        "validity": order.validity,
        "trigger_price": round(row.trigger_price, 4),
        "disclosed_quantity": order.disclosed_quantity,
        "transaction_type": order.side,
        "average_price": round(row.average_price, 4),
        "filled_quantity": row.filled,
        "pending_quantity": row.pending,
        "status_message": row.message or "",
        "status_message_raw": row.raw_message,
        "exchange_order_id": (order.exchange_order_id or "") if row.exchange_at is not None else "",
        "parent_order_id": order.parent_id or "NA",
        "order_id": order.id,
        "variety": "AMO" if order.variety == "amo" else "SIMPLE",
        "order_timestamp": stamp(row.at),
        "exchange_timestamp": stamp(row.exchange_at),
        "is_amo": order.variety == "amo",
        "order_request_id": str(order.modifications + 1),
        "order_ref_id": f"GTT-{order.parent_id}" if order.parent_id else "",
    }


def trade_row(trade: SimTrade, order: SimOrder) -> dict[str, Any]:
    return {
        **_names(order.listing),
        "product": PRODUCTS[trade.product],
        "order_type": order.order_type,
        "transaction_type": trade.side,
        "quantity": trade.quantity,
        "exchange_order_id": trade.exchange_order_id,
        "order_id": trade.order_id,
        "exchange_timestamp": stamp(trade.at),
        "average_price": round(trade.price, 4),
        "trade_id": trade.id,
        "order_ref_id": "",
        "order_timestamp": stamp(order.created_at),
    }


def position_row(p: SimPosition) -> dict[str, Any]:
    overnight_sold = max(0, -p.overnight_quantity)
    row = {
        **_names(p.listing),
        "multiplier": 1.0,
        "product": PRODUCTS[p.product],
        "quantity": p.quantity,
        "average_price": p.average_price if p.quantity else None,
        "last_price": p.last_price,
        "close_price": p.close_price,
        "value": p.value,
        "pnl": p.pnl,
        "unrealised": p.unrealised,
        "realised": p.realised,
        "buy_value": p.buy_value,
        "buy_price": p.buy_price,
        "sell_value": p.sell_value,
        "sell_price": p.sell_price,
        "overnight_quantity": p.overnight_quantity,
        "overnight_buy_quantity": max(0, p.overnight_quantity),
        "overnight_buy_amount": max(0, p.overnight_quantity) * p.overnight_price,
        "overnight_sell_quantity": overnight_sold,
        "overnight_sell_amount": overnight_sold * p.overnight_price,
        "day_buy_quantity": p.day_buy_quantity,
        "day_buy_value": p.day_buy_value,
        "day_buy_price": p.day_buy_value / p.day_buy_quantity if p.day_buy_quantity else 0.0,
        "day_sell_quantity": p.day_sell_quantity,
        "day_sell_value": p.day_sell_value,
        "day_sell_price": p.day_sell_value / p.day_sell_quantity if p.day_sell_quantity else 0.0,
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def holding_row(h: SimHolding) -> dict[str, Any]:
    change = h.last_price - h.close_price
    return {
        **_names(h.listing),
        "isin": isin(h.listing),
        "company_name": h.listing.name,
        "product": "D",
        "quantity": h.quantity,
        "t1_quantity": h.t1_quantity,
        "cnc_used_quantity": h.used_quantity,
        "collateral_quantity": 0,
        "collateral_update_quantity": 0,
        "collateral_type": "WC",
        "haircut": 0.2,
        "average_price": round(h.average_price, 4),
        "last_price": round(h.last_price, 4),
        "close_price": round(h.close_price, 4),
        "pnl": round(h.pnl, 4),
        "day_change": round(change, 4),
        "day_change_percentage": round(change * 100 / h.close_price, 4) if h.close_price else 0.0,
    }


def funds_row(funds: SimFunds | None) -> dict[str, float]:
    """One segment; None is the commodity segment, which is part of equity since July 2025."""
    names = ("used_margin", "payin_amount", "span_margin", "adhoc_margin", "notional_cash", "available_margin", "exposure_margin")
    row = dict.fromkeys(names, 0.0)
    if funds is not None:
        row |= {"used_margin": funds.debits, "span_margin": funds.span, "exposure_margin": funds.exposure, "available_margin": funds.net}
    return {name: round(value, 2) for name, value in row.items()}


def charges_row(charges: SimCharges) -> dict[str, Any]:
    """The tax in whole rupees and every other line in paise, as the documents' sample has them; the depository's fee is not in the sum."""
    taxes = {"gst": round(charges.gst, 2), "stt": float(round(charges.transaction_tax)), "stamp_duty": round(charges.stamp, 2)}
    other = {
        "transaction": round(charges.exchange_turnover - charges.ipft, 2),
        "clearing": 0.0,
        "ipft": round(charges.ipft, 2),
        "sebi_turnover": round(charges.sebi, 2),
    }
    brokerage, plan = round(charges.brokerage, 2), {"name": "BASIC", "min_expense": 20.0}
    return {
        "total": round(brokerage + sum(taxes.values()) + sum(other.values()), 2),
        "brokerage": brokerage,
        "taxes": taxes,
        "other_charges": other,
        "dp_plan": plan,
        "otherTaxes": other,
        "dpPlan": plan,
    }


def margin_row(margin: SimMargin) -> dict[str, float]:
    row = {
        "span_margin": margin.span,
        "exposure_margin": margin.exposure,
        "equity_margin": margin.var,
        "net_buy_premium": margin.option_premium,
        "additional_margin": 0.0,
        "tender_margin": 0.0,
        "total_margin": margin.total,
    }
    return {name: round(value, 2) for name, value in row.items()}


def last_price_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    return {
        "last_price": quote.last_price,
        "instrument_token": instrument_key(listing),
        "ltq": quote.last_quantity,
        "volume": quote.volume,
        "cp": quote.close,
    }


def candles_row(listing: Listing, quote: Quote, running: Candle | None, at: datetime) -> dict[str, Any]:
    """The day's or the running minutes' candle beside the previous close."""
    start, values, volume = at, (quote.open, quote.high, quote.low, quote.last_price), quote.volume
    if running is not None:
        start, values, volume = running.start, (running.open, running.high, running.low, running.close), running.volume
    names = ("open", "high", "low", "close")
    live = {**dict(zip(names, values, strict=True)), "volume": volume, "ts": int(start.timestamp() * 1000)}
    previous = {**dict.fromkeys(names, quote.close), "volume": 0, "ts": 0}
    return {"last_price": quote.last_price, "instrument_token": instrument_key(listing), "prev_ohlc": previous, "live_ohlc": live}


def quote_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    def depth(levels: tuple[tuple[float, int, int], ...]) -> list[dict[str, Any]]:
        padded = (*levels[:5], *[(0.0, 0, 0)] * (5 - len(levels[:5])))
        return [{"quantity": quantity, "price": price, "orders": orders} for price, quantity, orders in padded]

    return {
        "ohlc": {"open": quote.open, "high": quote.high, "low": quote.low, "close": quote.close},
        "depth": {"buy": depth(quote.bids), "sell": depth(quote.asks)},
        "timestamp": quote.exchange_time.isoformat(timespec="milliseconds"),
        "instrument_token": instrument_key(listing),
        "symbol": listing.symbol,
        "last_price": quote.last_price,
        "volume": quote.volume,
        "average_price": quote.average_price,
        "oi": float(quote.oi),
        "net_change": round(quote.last_price - quote.close, 4),
        "total_buy_quantity": float(quote.total_buy),
        "total_sell_quantity": float(quote.total_sell),
        "lower_circuit_limit": listing.lower_circuit,
        "upper_circuit_limit": listing.upper_circuit,
        "last_trade_time": str(int((quote.last_time or quote.exchange_time).timestamp() * 1000)),
        "oi_day_high": float(quote.oi_high),
        "oi_day_low": float(quote.oi_low),
    }
