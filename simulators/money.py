"""What trading costs and blocks, by the simulator's own formulas: charges of an executed order, margins of positions and orders.

Charges follow config/market/charges.yaml line by line (unrounded, as Kite's virtual contract note). Margins are an
approximation of 2026: their rates are choices, not an exchange's SPAN file.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from simulators.facts import Facts, version_at
from simulators.listing import Listing
from simulators.orders import SimAccount, SimCharges, SimMargin, SimOrder, SimPosition

INDEX_FUTURE, STOCK_FUTURE = 0.13, 0.20
SHORT_OPTION, SHORT_OPTION_FLOOR, SHORT_OPTION_EXPIRY_DAY = 0.11, 0.07, 0.02
EXPOSURE_SHARE = 0.02  # part of a future's or short option's margin that is shown as exposure, of notional
MIS_EQUITY, MIS_EQUITY_RISKY = 0.20, 0.25


# --- charges ----------------------------------------------------------------------------------------------------------------------
def _amount(rule: Any, turnover: float) -> float:
    """A brokerage rule of the file: a number, or an expression in T such as `min(20, 0.0003*T)`."""
    if isinstance(rule, int | float):
        return float(rule)
    return _value(ast.parse(str(rule), mode="eval").body, turnover)


def _value(node: ast.expr, turnover: float) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id == "T":
        return turnover
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Add):
        left, right = _value(node.left, turnover), _value(node.right, turnover)
        return left * right if isinstance(node.op, ast.Mult) else left + right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}:
        values = [_value(argument, turnover) for argument in node.args]
        return min(values) if node.func.id == "min" else max(values)
    raise ValueError(f"charges.yaml has a brokerage rule that is not understood: {ast.unparse(node)}")


def _group(listing: Listing, product: str) -> str:
    if listing.exchange in {"MCX", "NCO"}:
        return "commodity_futures" if listing.kind == "FUT" else "commodity_options"
    if listing.kind in {"CE", "PE"}:
        return "options"
    if listing.kind == "FUT":
        return "futures"
    return "equity_intraday" if product == "MIS" else "equity_delivery"


def _exchange_rate(facts: Facts, listing: Listing, group: str, day: date) -> Mapping[str, Any]:
    venue = {"NSE": "NSE", "NFO": "NSE", "BSE": "BSE", "BFO": "BSE", "MCX": "MCX", "NCO": "MCX"}[listing.exchange]
    table = facts.charges["statutory"]["exchange_txn"][venue]
    name = {"equity_intraday": "equity", "equity_delivery": "equity", "commodity_futures": "futures", "commodity_options": "options"}.get(
        group, group
    )
    if venue == "BSE" and name == "options":
        name = "options_sensex_bankex" if listing.underlying in {"SENSEX", "BANKEX"} else "options_other"
    return version_at(table[name], day)


def _brokerage(facts: Facts, broker: str, group: str, listing: Listing, quantity: int, turnover: float, day: date) -> float:
    """By the broker's plan; of several the last one, which is written out in numbers. A number below one is a share of the turnover."""
    versions = facts.charges["brokers"][broker]
    plans = [version["plan"] for version in versions if "plan" in version]
    plan = version_at([version for version in versions if not plans or version["plan"] == plans[-1]], day)
    if f"{group}_per_lot" in plan:
        return float(plan[f"{group}_per_lot"]) * quantity / listing.lot
    rule = plan[group]
    return rule * turnover if isinstance(rule, float) and 0 < rule < 1 else _amount(rule, turnover)


def charges_of(facts: Facts, broker: str, listing: Listing, side: str, product: str, quantity: int, price: float, day: date) -> SimCharges:
    """Charges of one executed order of `quantity` units at average `price`, in rupees."""
    statutory, turnover, group = facts.charges["statutory"], quantity * price, _group(listing, product)
    brokerage = _brokerage(facts, broker, group, listing, quantity, turnover, day)
    rate = _exchange_rate(facts, listing, group, day)
    transaction, ipft = turnover * rate["rate"], turnover * rate.get("ipft_per_cr", 0) / 1e7
    sebi = turnover * version_at(statutory["sebi_fee_per_cr"], day)["v"] / 1e7
    tax_name = {"commodity_futures": "ctt_futures_non_agri", "commodity_options": "ctt_options"}.get(group, group)
    tax = turnover * version_at(statutory["stt"][tax_name], day).get(side.lower(), 0)
    stamp = turnover * version_at(statutory["stamp_duty_buy"], day).get(group, 0) if side == "BUY" else 0.0
    rule = statutory["gst"]
    base = brokerage + transaction
    if day >= rule["sebi_fee_in_base_from"]:
        base += sebi
    if _ipft_taxed(rule["ipft_in_base"].get(broker, True), day):
        base += ipft
    kind = "ctt" if group.startswith("commodity") else "stt"
    return SimCharges(brokerage, tax, transaction + ipft, sebi, stamp, rule["rate"] * base, kind, ipft)


def _ipft_taxed(rule: Any, day: date) -> bool:
    return bool(version_at(rule, day)["v"]) if isinstance(rule, list) else bool(rule)


def exercise_tax(facts: Facts, intrinsic_value: float, day: date) -> float:
    """STT the holder of a long option pays when it is exercised, on its intrinsic value."""
    return intrinsic_value * float(version_at(facts.charges["statutory"]["stt"]["options_exercised"], day)["buyer"])


def square_off_fee(facts: Facts, broker: str) -> float:
    """What the broker takes for each order by which it squares off a client's intraday position, with GST."""
    return float(facts.sessions["mis_squareoff"].get(broker, {}).get("charge_inr") or 0) * 1.18


# --- margins ----------------------------------------------------------------------------------------------------------------------
def margin_of(listing: Listing, side: str, product: str, quantity: int, price: float, spot: float, day: date) -> SimMargin:
    """What holding `quantity` units from this price blocks; `spot` is the underlying's price (options need it)."""
    value = quantity * price
    if listing.kind in {"EQ", "INDEX"}:
        if product != "MIS":
            return SimMargin(var=value)
        rate = MIS_EQUITY if listing.is_fno and price >= 50 else MIS_EQUITY_RISKY
        return SimMargin(var=value * rate, leverage=1 / rate)
    if listing.kind == "FUT":
        rate = INDEX_FUTURE if _is_index(listing) else STOCK_FUTURE
        return SimMargin(span=value * (rate - EXPOSURE_SHARE), exposure=value * EXPOSURE_SHARE)
    if side == "BUY":
        return SimMargin(option_premium=value)
    notional = quantity * spot
    out = max(0.0, listing.strike - spot if listing.kind == "CE" else spot - listing.strike) * quantity
    risk = max(SHORT_OPTION * notional - out, SHORT_OPTION_FLOOR * notional)
    if listing.expiry == day:
        risk += SHORT_OPTION_EXPIRY_DAY * notional
    return SimMargin(span=risk + value - EXPOSURE_SHARE * notional, exposure=EXPOSURE_SHARE * notional)


def _is_index(listing: Listing) -> bool:
    return "NIFTY" in listing.underlying or listing.underlying in {"SENSEX", "BANKEX", "SENSEX50"}


@dataclass(slots=True)
class _Group:
    listing: Listing
    product: str
    quantity: int = 0
    price: float = 0.0
    buys: int = 0
    buy_value: float = 0.0
    sells: int = 0
    sell_value: float = 0.0


def blocked(account: SimAccount, spots: Mapping[str, float], day: date, without: SimOrder | None = None) -> SimMargin:
    """Everything positions and pending orders (but `without`) block together; an order that reduces blocks nothing of its own."""
    groups: dict[tuple[str, str], _Group] = {}
    for (key, product), position in account.positions.items():
        if position.quantity:
            groups[(key, product)] = _Group(position.listing, product, position.quantity, position.last_price or position.average_price)
    for order in account.orders.values():
        if not order.live or order is without:
            continue
        group = groups.setdefault((order.listing.key, order.product), _Group(order.listing, order.product))
        pending, price = order.quantity - order.filled, order.price or order.trigger_price
        if order.side == "BUY":
            group.buys += pending
            group.buy_value += pending * price
        else:
            group.sells += pending
            group.sell_value += pending * price
    span = exposure = premium = var = 0.0
    for group in groups.values():
        margin = _group_margin(group, spots.get(group.listing.underlying, group.price or group.listing.strike), day)
        span, exposure = span + margin.span, exposure + margin.exposure
        premium, var = premium + margin.option_premium, var + margin.var
    return SimMargin(span, exposure, premium, var)


def _group_margin(group: _Group, spot: float, day: date) -> SimMargin:
    listing, product, held = group.listing, group.product, group.quantity
    buy_price = group.buy_value / group.buys if group.buys else group.price
    sell_price = group.sell_value / group.sells if group.sells else group.price
    if listing.kind in {"CE", "PE"}:
        opening = max(0, group.buys - max(0, -held))
        short = max(max(0, -held), group.sells - held)
        margin = margin_of(listing, "SELL", product, short, sell_price or group.price, spot, day) if short else SimMargin()
        return SimMargin(margin.span, margin.exposure, opening * buy_price, 0.0)
    if listing.kind == "EQ" and product != "MIS":
        return SimMargin(var=group.buy_value)  # what was bought is paid for, what is sold is held
    long, short = max(held + group.buys, 0), max(group.sells - held, 0)
    return max(
        (
            margin_of(listing, "BUY", product, long, buy_price or group.price, spot, day),
            margin_of(listing, "SELL", product, short, sell_price or group.price, spot, day),
        ),
        key=lambda margin: margin.total,
    )


def cash_effect(position: SimPosition) -> float:
    """What a position adds to usable cash today: marks for futures and intraday shares, money paid and received for the rest."""
    if position.listing.kind == "FUT" or (position.listing.kind == "EQ" and position.product == "MIS"):
        return position.m2m
    return position.day_sell_value - position.day_buy_value
