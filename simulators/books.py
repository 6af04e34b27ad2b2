"""A client's books at the broker: trades into positions, the night's roll into holdings and carried positions, expiry settlement."""

from collections.abc import Mapping
from datetime import date

from simulators.facts import Facts
from simulators.listing import Listing
from simulators.money import cash_effect, exercise_tax
from simulators.orders import OrderRefused, SimAccount, SimHolding, SimOrder, SimPosition, SimTrade, Why

CLOSE_OUT = 1.2  # a share sold short and not bought back is bought in at this multiple of the close


def position_of(account: SimAccount, listing: Listing, product: str) -> SimPosition:
    position = account.positions.get((listing.key, product))
    if position is None:
        position = account.positions[(listing.key, product)] = SimPosition(listing, product, close_price=listing.previous_close)
    return position


def book(account: SimAccount, order: SimOrder, trade: SimTrade) -> None:
    """One execution into the day's position; a delivery sale uses up holdings."""
    account.trades.append(trade)
    position = position_of(account, order.listing, order.product)
    value = trade.quantity * trade.price
    position.last_price = trade.price
    if trade.side == "BUY":
        position.day_buy_quantity += trade.quantity
        position.day_buy_value += value
        return
    if order.product == "CNC" and order.listing.key in account.holdings:
        holding = account.holdings[order.listing.key]
        holding.used_quantity += min(holding.sellable, max(0, trade.quantity - max(0, position.quantity)))
    position.day_sell_quantity += trade.quantity
    position.day_sell_value += value


def deliverable(account: SimAccount, key: str) -> int:
    """Shares a CNC sale may still use: holdings, and what was bought today, less pending CNC sales."""
    holding, position = account.holdings.get(key), account.positions.get((key, "CNC"))
    bought = max(0, position.quantity) if position else 0
    pending = sum(
        order.pending
        for order in account.orders.values()
        if order.live and order.product == "CNC" and order.side == "SELL" and order.listing.key == key
    )
    return (holding.sellable if holding else 0) + bought - pending


def convert(account: SimAccount, listing: Listing, side: str, quantity: int, old: str, new: str) -> None:
    """Move part of an open position to another product at its average price."""
    position = account.positions.get((listing.key, old))
    held = position.quantity if position else 0
    if position is None or quantity <= 0 or (held if side == "BUY" else -held) < quantity:
        raise OrderRefused(Why.INPUT, "Quantity to convert exceeds the open position.")
    if old == new or quantity % listing.lot:
        raise OrderRefused(Why.INPUT, "Invalid position conversion.")
    price, target = position.average_price, position_of(account, listing, new)
    target.last_price = position.last_price
    sign = 1 if side == "BUY" else -1
    _move(position, -sign * quantity, price)
    _move(target, sign * quantity, price)


def _move(position: SimPosition, quantity: int, price: float) -> None:
    """Add signed units at a price: off the day's own other side as far as it goes, so that converting back leaves no trace."""
    undone = min(abs(quantity), position.day_buy_quantity if quantity < 0 else position.day_sell_quantity)
    added = abs(quantity) - undone
    if quantity < 0:
        position.day_buy_quantity, position.day_buy_value = position.day_buy_quantity - undone, position.day_buy_value - undone * price
        position.day_sell_quantity, position.day_sell_value = position.day_sell_quantity + added, position.day_sell_value + added * price
    else:
        position.day_sell_quantity, position.day_sell_value = position.day_sell_quantity - undone, position.day_sell_value - undone * price
        position.day_buy_quantity, position.day_buy_value = position.day_buy_quantity + added, position.day_buy_value + added * price


def settle(account: SimAccount, finals: Mapping[str, float], day: date, facts: Facts) -> list[SimPosition]:
    """Close every position that expires today at its final price (cash settlement; also of stock contracts, a simplification)."""
    settled = []
    for position in account.positions.values():
        quantity, listing = position.quantity, position.listing
        if listing.expiry is None or listing.expiry > day or not quantity:
            continue
        price = finals.get(listing.key, position.last_price)
        position.last_price = price
        if quantity > 0:
            position.day_sell_quantity += quantity
            position.day_sell_value += quantity * price
            if listing.kind in {"CE", "PE"}:
                account.charges += exercise_tax(facts, quantity * price, day)
        else:
            position.day_buy_quantity -= quantity
            position.day_buy_value -= quantity * price
        settled.append(position)
    return settled


def roll(account: SimAccount, listings: Mapping[str, Listing]) -> None:
    """The night between two days: cash settles, intraday leftovers become carried, shares bought become holdings (T+1)."""
    for holding in account.holdings.values():
        holding.quantity = holding.quantity + holding.t1_quantity - holding.used_quantity
        holding.t1_quantity = holding.used_quantity = 0
    carried: dict[tuple[str, str], SimPosition] = {}
    for position in account.positions.values():
        listing = listings.get(position.listing.key, position.listing)
        close = listing.previous_close if listing is not position.listing else position.last_price
        position.last_price = close
        quantity = position.quantity
        if listing.kind == "EQ":  # whatever was meant intraday and is still open is delivered or bought in
            account.cash += position.day_sell_value - position.day_buy_value
            if quantity < 0 and position.product == "MIS":
                account.cash += quantity * close * CLOSE_OUT
            elif quantity > 0:
                _deliver(account, listing, quantity, position.average_price)
            continue
        account.cash += cash_effect(position)
        if not quantity:
            continue
        product = "NRML" if position.product == "MIS" else position.product
        kept = carried.setdefault((listing.key, product), SimPosition(listing, product, close_price=close, last_price=close))
        total = kept.overnight_quantity + quantity
        if total:
            kept.overnight_price = (kept.overnight_quantity * kept.overnight_price + quantity * position.average_price) / total
        kept.overnight_quantity = total
    account.positions = {key: position for key, position in carried.items() if position.overnight_quantity}
    account.cash -= account.charges
    account.charges = 0.0
    account.trades = []
    account.orders = {order_id: order for order_id, order in account.orders.items() if order.live}
    account.holdings = {key: holding for key, holding in account.holdings.items() if holding.quantity or holding.t1_quantity}
    for key, holding in account.holdings.items():
        holding.listing = listings.get(key, holding.listing)
        holding.last_price = holding.close_price = holding.listing.previous_close


def _deliver(account: SimAccount, listing: Listing, quantity: int, price: float) -> None:
    """Shares bought and kept become holdings, settled tomorrow."""
    holding = account.holdings.get(listing.key)
    if holding is None:
        holding = account.holdings[listing.key] = SimHolding(listing)
    total = holding.quantity + holding.t1_quantity
    holding.average_price = (holding.average_price * total + price * quantity) / (total + quantity)
    holding.t1_quantity += quantity
