"""What the paper exchange accepts, in the words a broker would use to refuse, what an order blocks, and at what price it would trade.

Pure functions. The texts follow Zerodha's (the wire simulator has the whole set); the margins are simple shares of notional, stated as
choices in config, not SPAN.
"""

import math
from datetime import datetime
from typing import Protocol

import msgspec

from core.expiries import floor_to_lot, round_to_tick
from core.types import Bar, Horizon, Instrument, Kind, Order, OrderType, Side, Tick

MAX_MODIFICATIONS = 25  # of one order; Kite Connect's own cap


class Sessions(Protocol):
    """core.market.Calendar as the paper broker needs it."""

    def is_open(self, instrument: Instrument, at: datetime) -> bool: ...


class MarginRates(msgspec.Struct, frozen=True):
    """Shares of notional that are blocked. An option bought costs its premium, one sold blocks `short_option` of strike x quantity."""

    equity_intraday: float = 0.20
    equity_carry: float = 1.0
    future: float = 0.15
    short_option: float = 0.15

    def blocked(self, instrument: Instrument, horizon: Horizon, side: Side, quantity: int, price: float) -> float:
        """Rupees that opening `quantity` units at `price` blocks."""
        notional = quantity * price * instrument.multiplier
        if instrument.is_option:
            return notional if side is Side.BUY else self.short_option * quantity * (instrument.strike or price) * instrument.multiplier
        if instrument.kind is Kind.FUTURE:
            return self.future * notional
        return (self.equity_intraday if horizon is Horizon.INTRADAY else self.equity_carry) * notional


class FillRules(msgspec.Struct, frozen=True):
    """How far a simulated fill is from the printed price. The defaults add nothing: fills are those of the market that is played.

    `inside_bars`: bars are played as prices within them (backtesting/bar_path.py) instead of meeting orders whole. `slippage_ticks` and
    `slippage_bps` (of the price) add up, against whoever trades, and never beyond the order's limit. `spread_ticks` is the whole spread
    where the market shows no book: half of it (rounded up to a tick) is paid. `volume_share` of a bar's or tick's volume is the most one
    order gets of it (None: all it wants). `latency_s` passes before an order or a change of it is in the book.
    """

    inside_bars: bool = False
    slippage_ticks: float = 0.0
    slippage_bps: float = 0.0
    spread_ticks: int = 0
    volume_share: float | None = None
    latency_s: float = 0.0

    def worsened(self, order: Order, price: float, *, booked: bool) -> float:
        """What `order` pays or gets where the market printed `price`; `booked`: it took a side of a known book."""
        tick = order.instrument.tick_size
        points = self.slippage_ticks * tick + self.slippage_bps * price / 10_000
        points += 0.0 if booked else (self.spread_ticks + 1) // 2 * tick
        if points <= 0:
            return price
        paid = round_to_tick(price + order.side.sign * points, tick, Side.SELL if order.side is Side.BUY else Side.BUY)
        return min(paid, order.limit_price) if order.side is Side.BUY else max(paid, order.limit_price)

    def most(self, instrument: Instrument, volume: int) -> int | None:
        """Units one order may get of so much traded volume, in whole lots; None: no bound."""
        return None if self.volume_share is None else floor_to_lot(int(volume * self.volume_share), instrument.lot)


PLAIN = FillRules()


def refusal(order: Order, now: datetime, sessions: Sessions | None, last_price: float | None) -> str:
    """Why this order is not taken at all, in a broker's words; empty if it is."""
    instrument = order.instrument
    if not instrument.tradable or (instrument.expiry is not None and instrument.expiry < now.date()):
        return "The instrument you are placing an order for has either expired or does not exist. Please check and try again."
    if sessions is not None and not sessions.is_open(instrument, now):
        return f"Markets are closed right now for {instrument.key}. The order was not placed; place it while continuous trading is on."
    if order.order_type is OrderType.LIMIT:
        return _wrong_quantity(order) or _wrong_price(order, order.limit_price)
    if order.order_type is OrderType.SL:
        wrong = _wrong_quantity(order) or _wrong_price(order, order.limit_price) or _wrong_price(order, order.trigger_price)
        return wrong or _wrong_trigger(order, last_price)
    return "Market orders without market protection are not allowed via API. Please set market protection or use a Limit order."


def _wrong_quantity(order: Order) -> str:
    instrument, quantity = order.instrument, order.quantity
    if quantity <= 0 or quantity % instrument.lot:
        return f"Invalid `quantity` {quantity}. It should be a multiple of the lot size {instrument.lot}."
    if instrument.freeze is not None and quantity > instrument.freeze:
        return f"Quantity {quantity} exceeds the freeze quantity {instrument.freeze} of {instrument.symbol}. Split the order."
    return ""


def _wrong_price(order: Order, price: float | None) -> str:
    if price is None or not 0 < price < math.inf:
        return f"Invalid `price` {price}. A {order.order_type} order needs a price above 0."
    tick = order.instrument.tick_size
    ticks = price / tick
    if abs(ticks - round(ticks)) > 1e-6:
        return f"Tick size for this script is {tick:g}. Kindly enter price in the multiple of tick size for this script (was {price})."
    return ""


def _wrong_trigger(order: Order, last_price: float | None) -> str:
    trigger = order.trigger_price
    if trigger is None:
        return ""
    if order.side is Side.BUY:
        if trigger > order.limit_price:
            return f"Trigger price {trigger} of a stoploss buy order cannot be above its price {order.limit_price}."
        if last_price is not None and trigger <= last_price:
            return f"Trigger price for stoploss buy orders should be above LTP ({last_price}); it was {trigger}."
    else:
        if trigger < order.limit_price:
            return f"Trigger price {trigger} of a stoploss sell order cannot be below its price {order.limit_price}."
        if last_price is not None and trigger >= last_price:
            return f"Trigger price for stoploss sell orders should be below LTP ({last_price}); it was {trigger}."
    return ""


def reached(side: Side, trigger: float, price: float) -> bool:
    """A stop of that side fires at this price."""
    return price >= trigger if side is Side.BUY else price <= trigger


def within(side: Side, limit: float, price: float) -> bool:
    """A LIMIT of that side may trade at this price."""
    return price <= limit if side is Side.BUY else price >= limit


def touched(side: Side, tick: Tick) -> tuple[float, int | None] | None:
    """(price, units) that an order of `side` could take on this tick: the opposite side of the book, or the last price where the
    feed has no book. Units are None where the size is not known. None: the book is known and that side of it is empty."""
    if tick.bid == 0.0 and tick.ask == 0.0:
        return tick.price, None
    price, units = (tick.ask, tick.ask_quantity) if side is Side.BUY else (tick.bid, tick.bid_quantity)
    return (price, units or None) if price > 0 else None


def limit_in_bar(side: Side, limit: float, bar: Bar) -> float | None:
    """Where a LIMIT that lived through the whole bar trades: the open if it may, else its limit if the bar went beyond it (touching is
    not enough: others were first)."""
    if within(side, limit, bar.open):
        return bar.open
    beyond = bar.low < limit if side is Side.BUY else bar.high > limit
    return limit if beyond else None


def stop_in_bar(side: Side, trigger: float, limit: float, bar: Bar) -> tuple[bool, float | None]:
    """(fired, price) of a stop that lived through the whole bar.

    A gap through the trigger fires at the open and is a LIMIT from there. Fired inside the bar, it pays one tick more than its trigger
    (no more than the bar's extreme and its own limit). It is taken to fire before any resting LIMIT of the same bar fills.
    """
    if reached(side, trigger, bar.open):
        return True, limit_in_bar(side, limit, bar)
    extreme = bar.high if side is Side.BUY else bar.low
    if not reached(side, trigger, extreme):
        return False, None
    tick = bar.instrument.tick_size
    if side is Side.BUY:
        return True, min(limit, extreme, trigger + tick)
    return True, max(limit, extreme, trigger - tick)
