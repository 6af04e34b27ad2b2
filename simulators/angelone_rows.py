"""The shapes SmartAPI sends: order, trade, position, holding, fund and quote rows, built from the exchange's own records."""

import hashlib
import uuid
from datetime import datetime
from typing import Any

from simulators.angelone_names import Scrip
from simulators.listing import Candle, Quote
from simulators.orders import HistoryRow, SimCharges, SimFunds, SimHolding, SimOrder, SimPosition, SimTrade, Status

STATUS = {
    Status.RECEIVED: "put order req received",
    Status.VALIDATING: "validation pending",
    Status.OPEN_PENDING: "open pending",
    Status.OPEN: "open",
    Status.TRIGGER_PENDING: "trigger pending",
    Status.MODIFY_VALIDATING: "modify pending",
    Status.MODIFY_PENDING: "modify pending",
    Status.MODIFIED: "modified",
    Status.CANCEL_PENDING: "cancel pending",
    Status.AMO_RECEIVED: "after market order req received",
    Status.COMPLETE: "complete",
    Status.CANCELLED: "cancelled",
    Status.REJECTED: "rejected",
}
CODES = {
    "open": "AB01",
    "cancelled": "AB02",
    "rejected": "AB03",
    "modified": "AB04",
    "complete": "AB05",
    "after market order req received": "AB06",
    "cancelled after market order": "AB07",
    "modify after market order req received": "AB08",
    "open pending": "AB09",
    "trigger pending": "AB10",
    "modify pending": "AB11",
}
PRODUCTS = {"DELIVERY": "CNC", "CARRYFORWARD": "NRML", "INTRADAY": "MIS", "MARGIN": "MTF"}
ORDER_TYPES = {"LIMIT": "LIMIT", "MARKET": "MARKET", "STOPLOSS_LIMIT": "SL", "STOPLOSS_MARKET": "SL-M"}
_PRODUCT_OF = {ours: theirs for theirs, ours in PRODUCTS.items()}
_TYPE_OF = {ours: theirs for theirs, ours in ORDER_TYPES.items()}
_NO_ORDER: dict[str, Any] = dict.fromkeys(
    ("variety", "ordertype", "ordertag", "producttype", "duration", "tradingsymbol", "transactiontype", "exchange", "symboltoken",
     "instrumenttype", "optiontype", "expirydate", "filledshares", "unfilledshares", "orderid", "text", "status", "orderstatus",
     "updatetime", "exchtime", "exchorderupdatetime", "fillid", "filltime", "parentorderid"),
    "",
) | dict.fromkeys(("price", "triggerprice", "squareoff", "stoploss", "trailingstoploss", "strikeprice", "averageprice"), 0) | dict.fromkeys(
    ("quantity", "disclosedquantity", "lotsize", "cancelsize"), "0"
)  # fmt: skip


def stamp(at: datetime | None) -> str:
    """IST without an offset, as SmartAPI writes times."""
    return f"{at:%d-%b-%Y %H:%M:%S}" if at is not None else ""


def unique_id(order: SimOrder) -> str:
    return str(uuid.UUID(hashlib.sha256(order.id.encode()).hexdigest()[:32]))


def variety(order: SimOrder) -> str:
    return "AMO" if order.variety == "amo" else "STOPLOSS" if order.requested_type in ("SL", "SL-M") else "NORMAL"


def _descriptive(one: Scrip) -> dict[str, Any]:
    listing, kind = one.listing, one.listing.kind
    derivative = kind in ("FUT", "CE", "PE")
    return {
        "tradingsymbol": one.symbol,
        "exchange": one.exchange,
        "instrumenttype": f"{'FUT' if kind == 'FUT' else 'OPT'}IDX" if derivative else "",
        "strikeprice": listing.strike if kind in ("CE", "PE") else -1,
        "optiontype": kind if kind in ("CE", "PE") else "",
        "expirydate": one.expiry,
        "lotsize": str(listing.lot),
    }


def order_row(order: SimOrder, one: Scrip, row: HistoryRow | None = None) -> dict[str, Any]:
    """The order as the book shows it, or as it stood at one row of its history. Times are its changes', numbers are numbers or texts."""
    row = row or order.history[-1]
    working, shown = STATUS[row.status], STATUS[row.status]
    if order.modifications and row.status in (Status.OPEN, Status.TRIGGER_PENDING):
        shown = "modified"
    if row.status is Status.CANCELLED and order.variety == "amo" and order.exchange_order_id is None:
        working = shown = "cancelled after market order"
    trade = _trade_of(order, row)
    return {
        **_descriptive(one),
        "variety": variety(order),
        "ordertype": _TYPE_OF[row.order_type],
        "producttype": _PRODUCT_OF[order.product],
        "duration": order.validity,
        "price": row.price,
        "triggerprice": row.trigger_price,
        "quantity": str(row.quantity),
        "disclosedquantity": str(order.disclosed_quantity),
        "squareoff": 0,
        "stoploss": 0,
        "trailingstoploss": 0,
        "transactiontype": order.side,
        "symboltoken": one.token,
        "ordertag": order.tag or "",
        "cancelsize": str(row.cancelled),
        "averageprice": round(row.average_price, 4),
        "filledshares": str(row.filled),
        "unfilledshares": str(max(0, row.quantity - row.filled - row.cancelled)),
        "orderid": order.id,
        "text": row.raw_message or "",
        "status": shown,
        "orderstatus": working,
        "updatetime": stamp(row.at),
        "exchtime": stamp(row.exchange_at),
        "exchorderupdatetime": stamp(row.exchange_at),
        "fillid": trade.id if trade else "",
        "filltime": f"{trade.at:%H:%M:%S}" if trade else "",
        "parentorderid": order.parent_id or "",
        "uniqueorderid": unique_id(order),
        "exchangeorderid": order.exchange_order_id or "",
    }


def _trade_of(order: SimOrder, row: HistoryRow) -> SimTrade | None:
    """The fill that brought the order to what this row has filled."""
    filled = 0
    for trade in order.trades:
        filled += trade.quantity
        if filled >= row.filled > 0:
            return trade
    return None


def order_message(order: SimOrder, one: Scrip, row: HistoryRow) -> dict[str, Any]:
    """What the order socket says of a change."""
    shown = order_row(order, one, row)
    told = {name: value for name, value in shown.items() if name not in ("uniqueorderid", "exchangeorderid")}
    code = CODES.get(shown["status"]) or CODES.get(shown["orderstatus"], "AB09")
    return {"user-id": order.user, "status-code": "200", "order-status": code, "error-message": "", "orderData": told}


def greeting(user: str) -> dict[str, Any]:
    """The order socket's first message."""
    return {"user-id": user, "status-code": "200", "order-status": "AB00", "error-message": "", "orderData": dict(_NO_ORDER)}


def trade_row(trade: SimTrade, one: Scrip) -> dict[str, Any]:
    """A time without a date, and no token of the instrument: so the broker has it."""
    shown = _descriptive(one)
    return {
        "exchange": one.exchange,
        "producttype": _PRODUCT_OF[trade.product],
        "tradingsymbol": one.symbol,
        "instrumenttype": shown["instrumenttype"],
        "symbolgroup": "EQ" if one.listing.kind == "EQ" else "XX",
        "strikeprice": str(shown["strikeprice"]),
        "optiontype": shown["optiontype"],
        "expirydate": one.expiry,
        "marketlot": str(one.listing.lot),
        "precision": "2",
        "multiplier": "-1",
        "tradevalue": f"{trade.price * trade.quantity:.2f}",
        "transactiontype": trade.side,
        "fillprice": f"{trade.price:.2f}",
        "fillsize": str(trade.quantity),
        "orderid": trade.order_id,
        "fillid": trade.id,
        "filltime": f"{trade.at:%H:%M:%S}",
    }


def money(value: float) -> str:
    """Two decimals; a minus stands apart from its number, as the broker writes it."""
    return f"- {-value:.2f}" if round(value, 2) < 0 else f"{value:.2f}"


def position_row(position: SimPosition, one: Scrip) -> dict[str, Any]:
    p, shown = position, _descriptive(one)
    carried_buy, carried_sell = max(0, p.overnight_quantity), max(0, -p.overnight_quantity)
    return {
        "exchange": one.exchange,
        "symboltoken": one.token,
        "producttype": _PRODUCT_OF[p.product],
        "tradingsymbol": one.symbol,
        "symbolname": one.name,
        "instrumenttype": shown["instrumenttype"],
        "priceden": "1",
        "pricenum": "1",
        "genden": "1",
        "gennum": "1",
        "precision": "2",
        "multiplier": "-1",
        "boardlotsize": "1",
        "buyqty": str(p.day_buy_quantity),
        "sellqty": str(p.day_sell_quantity),
        "buyamount": f"{p.day_buy_value:.2f}",
        "sellamount": f"{p.day_sell_value:.2f}",
        "symbolgroup": "EQ" if one.listing.kind == "EQ" else "XX",
        "strikeprice": str(shown["strikeprice"]),
        "optiontype": shown["optiontype"],
        "expirydate": one.expiry,
        "lotsize": str(one.listing.lot),
        "cfbuyqty": str(carried_buy),
        "cfsellqty": str(carried_sell),
        "cfbuyamount": f"{carried_buy * p.overnight_price:.2f}",
        "cfsellamount": f"{carried_sell * p.overnight_price:.2f}",
        "buyavgprice": f"{p.day_buy_value / p.day_buy_quantity if p.day_buy_quantity else 0:.2f}",
        "sellavgprice": f"{p.day_sell_value / p.day_sell_quantity if p.day_sell_quantity else 0:.2f}",
        "avgnetprice": f"{p.average_price:.2f}",
        "netvalue": money(p.value),
        "netqty": str(p.quantity),
        "totalbuyvalue": f"{p.buy_value:.2f}",
        "totalsellvalue": f"{p.sell_value:.2f}",
        "cfbuyavgprice": f"{p.overnight_price if carried_buy else 0:.2f}",
        "cfsellavgprice": f"{p.overnight_price if carried_sell else 0:.2f}",
        "totalbuyavgprice": f"{p.buy_price:.2f}",
        "totalsellavgprice": f"{p.sell_price:.2f}",
        "netprice": f"{p.average_price:.2f}",
        "ltp": f"{p.last_price:.2f}",
        "pnl": f"{p.pnl:.2f}",
        "realised": f"{p.realised:.2f}",
        "unrealised": f"{p.unrealised:.2f}",
    }


def holding_row(holding: SimHolding, one: Scrip) -> dict[str, Any]:
    h = holding
    total = h.quantity + h.t1_quantity
    cost = h.average_price * total
    return {
        "tradingsymbol": one.symbol,
        "exchange": one.exchange,
        "isin": "INE" + hashlib.sha256(one.listing.symbol.encode()).hexdigest()[:9].upper(),
        "t1quantity": h.t1_quantity,
        "realisedquantity": h.quantity,
        "quantity": total,
        "authorisedquantity": 0,
        "product": "DELIVERY",
        "collateralquantity": None,
        "collateraltype": None,
        "haircut": 0,
        "averageprice": round(h.average_price, 4),
        "ltp": h.last_price,
        "symboltoken": one.token,
        "close": h.close_price,
        "profitandloss": round(h.pnl, 2),
        "pnlpercentage": round(h.pnl / cost * 100, 2) if cost else 0,
    }


def funds_row(funds: SimFunds) -> dict[str, str]:
    """`availablecash` is already net of what is used; the marks stay 0.00 while positions show theirs."""
    return {
        "net": f"{funds.net:.4f}",
        "availablecash": f"{funds.net:.4f}",
        "availableintradaypayin": "0.0000",
        "availablelimitmargin": "0.0000",
        "collateral": "0.0000",
        "m2munrealized": "0.0000",
        "m2mrealized": "0.0000",
        "utiliseddebits": f"{funds.debits:.4f}",
        "utilisedspan": f"{funds.span:.4f}",
        "utilisedoptionpremium": f"{funds.option_premium:.4f}",
        "utilisedholdingsales": "0.0000",
        "utilisedexposure": f"{funds.exposure:.4f}",
        "utilisedturnover": "0.0000",
        "utilisedpayout": f"{funds.net:.4f}",
    }


def quote_row(one: Scrip, quote: Quote, mode: str) -> dict[str, Any]:
    """A row of the market quote in LTP, OHLC or FULL."""
    row: dict[str, Any] = {
        "exchange": one.exchange,
        "tradingSymbol": one.symbol,
        "symbolToken": one.token,
        "ltp": round(quote.last_price, 4),
    }
    if mode == "LTP":
        return row
    row |= {"open": quote.open, "high": quote.high, "low": quote.low, "close": quote.close}
    if mode == "OHLC":
        return row
    change = quote.last_price - quote.close
    return row | {
        "lastTradeQty": quote.last_quantity,
        "exchFeedTime": stamp(quote.exchange_time),
        "exchTradeTime": stamp(quote.last_time),
        "netChange": round(change, 2),
        "percentChange": round(change / quote.close * 100, 2) if quote.close else 0,
        "avgPrice": round(quote.average_price, 2),
        "tradeVolume": quote.volume,
        "opnInterest": quote.oi,
        "lowerCircuit": one.listing.lower_circuit,
        "upperCircuit": one.listing.upper_circuit,
        "totBuyQuan": quote.total_buy,
        "totSellQuan": quote.total_sell,
        "52WeekLow": quote.low,
        "52WeekHigh": quote.high,
        "depth": {side: _depth(levels) for side, levels in (("buy", quote.bids), ("sell", quote.asks))},
    }


def charge_lines(orders: list[SimCharges]) -> list[dict[str, Any]]:
    """The breakup of what orders cost together, in its three groups, as the documents show it."""

    def line(name: str, amount: float, parts: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
        return {"name": name, "amount": round(amount, 4), "msg": "", "breakup": list(parts)}

    external = (
        line("Exchange Transaction Charges", sum(one.exchange_turnover for one in orders)),
        line("Stamp Duty", sum(one.stamp for one in orders)),
        line("SEBI Fees", sum(one.sebi for one in orders)),
    )
    taxes = (line("Security Transaction Tax", sum(one.transaction_tax for one in orders)), line("GST", sum(one.gst for one in orders)))
    return [
        line("Angel One Brokerage", sum(one.brokerage for one in orders)),
        line("External Charges", sum(one["amount"] for one in external), external),
        line("Taxes", sum(one["amount"] for one in taxes), taxes),
    ]


def candle_row(candle: Candle) -> list[Any]:
    return [f"{candle.start:%Y-%m-%dT%H:%M:%S}+05:30", *(round(float(price), 4) for price in candle[1:5]), candle.volume]


def _depth(levels: tuple[tuple[float, int, int], ...]) -> list[dict[str, float]]:
    padded = [*levels[:5], *([(0.0, 0, 0)] * (5 - len(levels[:5])))]
    return [{"price": round(price, 4), "quantity": quantity, "orders": orders} for price, quantity, orders in padded]
