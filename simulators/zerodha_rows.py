"""The shapes Kite sends: order, trade, position, holding, margin and quote rows, built from the exchange's own records."""

import csv
import hashlib
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from simulators.listing import Candle, Listing, Quote
from simulators.orders import HistoryRow, SimCharges, SimFunds, SimHolding, SimMargin, SimOrder, SimPosition, SimTrade, Status
from simulators.zerodha_session import AccessToken

STATUS = {
    Status.RECEIVED: "PUT ORDER REQ RECEIVED",
    Status.VALIDATING: "VALIDATION PENDING",
    Status.OPEN_PENDING: "OPEN PENDING",
    Status.OPEN: "OPEN",
    Status.TRIGGER_PENDING: "TRIGGER PENDING",
    Status.MODIFY_VALIDATING: "MODIFY VALIDATION PENDING",
    Status.MODIFY_PENDING: "MODIFY PENDING",
    Status.MODIFIED: "MODIFIED",
    Status.CANCEL_PENDING: "CANCEL PENDING",
    Status.AMO_RECEIVED: "AMO REQ RECEIVED",
    Status.COMPLETE: "COMPLETE",
    Status.CANCELLED: "CANCELLED",
    Status.REJECTED: "REJECTED",
}

COLUMNS = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange"


def stamp(at: datetime | None) -> str | None:
    """IST without an offset, as Kite writes times."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at is not None else None


def number(value: float) -> float | int:
    """Kite drops the fraction of whole numbers as often as not; here always, so that clients must not type-check floats."""
    rounded = round(value, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def profile(session: AccessToken) -> dict[str, Any]:
    """Who this is, as /user/profile and the login say it."""
    return {
        "user_id": session.app.user_id,
        "user_type": "individual",
        "email": "practice@example.com",
        "user_name": "Practice User",
        "user_shortname": "Practice",
        "broker": "ZERODHA",
        "exchanges": ["NSE", "NFO", "BSE", "BFO", "CDS", "MCX", "MF"],
        "products": ["CNC", "NRML", "MIS", "MTF"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }


def order_row(order: SimOrder, row: HistoryRow | None = None, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The order as the book shows it, or as it stood at one row of its history. `details` overrides (validity TTL, iceberg meta)."""
    row = row or order.history[-1]
    tags = list(dict.fromkeys([*([order.tag] if order.tag else []), *order.tags]))
    if order.protected is not None and order.protected > 0 and row.order_type == "LIMIT":
        tags = list(dict.fromkeys([*tags, "mktp", f"mktp:{order.protected:.2f}"]))
    shown: dict[str, Any] = {
        "placed_by": order.placed_by,
        "order_id": order.id,
        "exchange_order_id": order.exchange_order_id if row.exchange_at is not None else None,
        "parent_order_id": order.parent_id,
        "status": STATUS[row.status],
        "status_message": row.message,
        "status_message_raw": row.raw_message,
        "order_timestamp": stamp(row.at),
        "exchange_update_timestamp": stamp(row.exchange_at),
        "exchange_timestamp": stamp(row.exchange_at),
        "variety": order.variety,
        "modified": order.modifications > 0,
        "exchange": order.listing.exchange,
        "tradingsymbol": order.listing.symbol,
        "instrument_token": order.listing.token,
        "order_type": row.order_type,
        "transaction_type": order.side,
        "validity": order.validity,
        "validity_ttl": 0,
        "product": order.product,
        "quantity": row.quantity,
        "disclosed_quantity": order.disclosed_quantity,
        "price": number(row.price),
        "trigger_price": number(row.trigger_price),
        "average_price": number(row.average_price),
        "filled_quantity": row.filled,
        "pending_quantity": row.pending,
        "cancelled_quantity": row.cancelled,
        "market_protection": 0,
        "meta": {},
        "tag": order.tag,
        "guid": f"01X{hashlib.sha256(order.id.encode()).hexdigest()[:13]}",
    }
    if tags:
        shown["tags"] = tags
    if details:
        shown.update(details)
    return shown


def order_message(
    order: SimOrder, row: HistoryRow, status: str, app_id: int, api_secret: str, details: dict[str, Any] | None
) -> dict[str, Any]:
    """The postback payload that the stream sends as text: an order row with a checksum; `status` may be the postback-only UPDATE."""
    shown = order_row(order, row, details)
    checksum = hashlib.sha256(f"{order.id}{shown['order_timestamp']}{api_secret}".encode()).hexdigest()
    return {
        "type": "order",
        "id": "",
        "data": {
            **shown,
            "user_id": order.user,
            "unfilled_quantity": row.quantity - row.filled - row.cancelled,
            "app_id": app_id,
            "checksum": checksum,
            "status": status,
        },
    }


def trade_row(trade: SimTrade, listing: Listing) -> dict[str, Any]:
    return {
        "trade_id": trade.id,
        "order_id": trade.order_id,
        "exchange_order_id": trade.exchange_order_id,
        "exchange": listing.exchange,
        "tradingsymbol": listing.symbol,
        "instrument_token": listing.token,
        "product": trade.product,
        "average_price": number(trade.price),
        "quantity": trade.quantity,
        "transaction_type": trade.side,
        "fill_timestamp": stamp(trade.at),
        "order_timestamp": trade.at.strftime("%H:%M:%S"),
        "exchange_timestamp": stamp(trade.at),
    }


def position_row(position: SimPosition, *, net: bool) -> dict[str, Any]:
    """A row of `net` (with what was carried in) or of `day` (today's activity alone)."""
    p = position
    shown = {
        "tradingsymbol": p.listing.symbol,
        "exchange": p.listing.exchange,
        "instrument_token": p.listing.token,
        "product": p.product,
        "quantity": p.quantity if net else p.day_quantity,
        "overnight_quantity": p.overnight_quantity if net else 0,
        "multiplier": 1,
        "average_price": p.average_price,
        "close_price": p.close_price if p.overnight_quantity else 0,
        "last_price": p.last_price,
        "value": p.value,
        "pnl": p.pnl,
        "m2m": p.m2m,
        "unrealised": p.unrealised,
        "realised": p.realised,
        "buy_quantity": p.buy_quantity if net else p.day_buy_quantity,
        "buy_price": p.buy_price,
        "buy_value": p.buy_value if net else p.day_buy_value,
        "buy_m2m": p.day_buy_value + max(0, p.overnight_quantity) * p.close_price,
        "sell_quantity": p.sell_quantity if net else p.day_sell_quantity,
        "sell_price": p.sell_price,
        "sell_value": p.sell_value if net else p.day_sell_value,
        "sell_m2m": p.day_sell_value + max(0, -p.overnight_quantity) * p.close_price,
        "day_buy_quantity": p.day_buy_quantity,
        "day_buy_price": p.day_buy_value / p.day_buy_quantity if p.day_buy_quantity else 0,
        "day_buy_value": p.day_buy_value,
        "day_sell_quantity": p.day_sell_quantity,
        "day_sell_price": p.day_sell_value / p.day_sell_quantity if p.day_sell_quantity else 0,
        "day_sell_value": p.day_sell_value,
    }
    if not net:
        value = p.day_sell_value - p.day_buy_value
        shown |= {"value": value, "pnl": value + p.day_quantity * p.last_price, "m2m": value + p.day_quantity * p.last_price}
    return {name: number(value) if isinstance(value, float) else value for name, value in shown.items()}


def holding_row(holding: SimHolding) -> dict[str, Any]:
    h = holding
    change = h.last_price - h.close_price
    return {
        "tradingsymbol": h.listing.symbol,
        "exchange": h.listing.exchange,
        "instrument_token": h.listing.token,
        "isin": "INE" + hashlib.sha256(h.listing.symbol.encode()).hexdigest()[:9].upper(),
        "product": "CNC",
        "price": 0,
        "quantity": h.quantity,
        "used_quantity": h.used_quantity,
        "t1_quantity": h.t1_quantity,
        "realised_quantity": h.quantity,
        "authorised_quantity": 0,
        "authorised_date": None,
        "authorisation": {},
        "opening_quantity": h.quantity + h.t1_quantity,
        "short_quantity": 0,
        "collateral_quantity": 0,
        "collateral_type": "",
        "discrepancy": False,
        "average_price": number(h.average_price),
        "last_price": number(h.last_price),
        "close_price": number(h.close_price),
        "pnl": number(h.pnl),
        "day_change": number(change),
        "day_change_percentage": number(change * 100 / h.close_price) if h.close_price else 0,
        "mtf": {"quantity": 0, "used_quantity": 0, "average_price": 0, "value": 0, "initial_margin": 0},
    }


def segment_margins(funds: SimFunds | None) -> dict[str, Any]:
    """One segment of /user/margins; None is a segment without money (commodity)."""
    nothing = SimFunds(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    f = funds or nothing
    return {
        "enabled": True,
        "net": number(f.net),
        "available": {
            "adhoc_margin": 0,
            "cash": number(f.opening_balance),
            "opening_balance": number(f.opening_balance),
            "live_balance": number(f.net),
            "collateral": 0,
            "intraday_payin": 0,
        },
        "utilised": {
            "debits": number(f.debits),
            "exposure": number(f.exposure),
            "m2m_realised": number(f.m2m_realised),
            "m2m_unrealised": number(f.m2m_unrealised),
            "option_premium": number(f.option_premium),
            "payout": 0,
            "span": number(f.span),
            "holding_sales": 0,
            "turnover": 0,
            "liquid_collateral": 0,
            "stock_collateral": 0,
            "delivery": number(f.delivery),
        },
    }


def charges_row(charges: SimCharges) -> dict[str, Any]:
    return {
        "transaction_tax": number(charges.transaction_tax),
        "transaction_tax_type": charges.tax_kind,
        "exchange_turnover_charge": number(charges.exchange_turnover),
        "sebi_turnover_charge": number(charges.sebi),
        "brokerage": number(charges.brokerage),
        "stamp_duty": number(charges.stamp),
        "gst": {"igst": number(charges.gst), "cgst": 0, "sgst": 0, "total": number(charges.gst)},
        "total": number(charges.total),
    }


def margin_row(listing: Listing, margin: SimMargin, charges: SimCharges) -> dict[str, Any]:
    return {
        "type": "equity",
        "tradingsymbol": listing.symbol,
        "exchange": listing.exchange,
        "span": number(margin.span),
        "exposure": number(margin.exposure),
        "option_premium": number(margin.option_premium),
        "additional": 0,
        "bo": 0,
        "cash": 0,
        "var": number(margin.var),
        "pnl": {"realised": 0, "unrealised": 0},
        "leverage": number(margin.leverage),
        "charges": charges_row(charges),
        "total": number(margin.total),
    }


def quote_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    """A full quote. `net_change` is absolute; empty depth levels are zeros."""
    row: dict[str, Any] = {
        "instrument_token": listing.token,
        "timestamp": stamp(quote.exchange_time),
        "last_trade_time": stamp(quote.last_time),
        **last_price_row(listing, quote),
        "last_quantity": quote.last_quantity,
        "buy_quantity": quote.total_buy,
        "sell_quantity": quote.total_sell,
        "volume": quote.volume,
        "average_price": number(quote.average_price),
        "oi": quote.oi,
        "oi_day_high": quote.oi_high,
        "oi_day_low": quote.oi_low,
        "net_change": number(quote.last_price - quote.close),
        "lower_circuit_limit": number(listing.lower_circuit),
        "upper_circuit_limit": number(listing.upper_circuit),
        "ohlc": _ohlc(quote),
        "depth": {"buy": _depth(quote.bids), "sell": _depth(quote.asks)},
    }
    if listing.kind == "INDEX":
        kept = ("instrument_token", "timestamp", "last_price", "net_change", "ohlc")
        return {name: row[name] for name in kept}
    return row


def ohlc_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    return {**last_price_row(listing, quote), "ohlc": _ohlc(quote)}


def last_price_row(listing: Listing, quote: Quote) -> dict[str, Any]:
    return {"instrument_token": listing.token, "last_price": number(quote.last_price)}


def candle_row(candle: Candle, *, oi: bool) -> list[Any]:
    row: list[Any] = [candle.start.strftime("%Y-%m-%dT%H:%M:%S+0530"), *map(number, candle[1:5]), candle.volume]
    return [*row, candle.oi] if oi else row


def instruments_csv(listings: Iterable[Listing]) -> bytes:
    """The day's instrument file: 12 columns, no number ever blank (the SDK parses all of them)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    out.write(COLUMNS + "\n")
    for one in listings:
        index = one.kind == "INDEX"
        writer.writerow(
            (
                one.token,
                one.exchange_token,
                one.symbol,
                one.name,
                "0.0",
                one.expiry.isoformat() if one.expiry else "",
                f"{one.strike:g}" if one.strike else "0.0",
                "0.0" if index else f"{one.tick_size:g}",
                0 if index else one.lot,
                "EQ" if index else one.kind,
                _segment(one),
                one.exchange,
            )
        )
    return out.getvalue().encode()


def _segment(listing: Listing) -> str:
    if listing.kind == "INDEX":
        return "INDICES"
    return listing.exchange if listing.kind == "EQ" else f"{listing.exchange}-{'FUT' if listing.kind == 'FUT' else 'OPT'}"


def _ohlc(quote: Quote) -> dict[str, float]:
    return {"open": number(quote.open), "high": number(quote.high), "low": number(quote.low), "close": number(quote.close)}


def _depth(levels: tuple[tuple[float, int, int], ...]) -> list[dict[str, float]]:
    padded = [*levels[:5], *([(0.0, 0, 0)] * (5 - len(levels[:5])))]
    return [{"price": number(price), "quantity": quantity, "orders": orders} for price, quantity, orders in padded]
