"""From a target to the orders it still lacks. Pure: given what is held, what works and what is wanted, say what to cancel and what to send.

The rules:
1. A target acts when it changes. Its quantity is resolved once, at the change, and pinned.
2. Lacking = wanted - held - still working. Nothing lacking = nothing.
3. Working orders that overshoot or oppose what is lacking are cancelled first; we act again on terminal evidence, on the filled position.
4. Crossing zero is two orders: the exit now, the entry after the exit's fill. A stop, kill or square-off under way (`closing`) likewise
   ends first, whatever the strategy wants next.
5. An order of unknown fate blocks its key: whatever is wanted waits for evidence.
6. An exit is never larger than what is ours, less what the broker was last seen to lack of what we believe (the shortfall).
7. A child is never larger than the freeze quantity, floored to lots.
8. We never send a bare market order: a limit with a cap, which the ladder re-prices in bounded steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from core.expiries import round_to_tick
from core.types import Horizon, Instrument, Order, OrderRequest, OrderState, OrderType, Purpose, Side
from risk.rules import LARGEST_QUANTITY

MOST_SLICES = 50  # sent at once; what is larger goes on as they fill

MANUAL = "manual"  # the strategy name of orders given by hand (execution_engine/manual_orders.py)


class Size(msgspec.Struct, frozen=True):
    """What one unit of target means; exactly one field is set. `capital` and `risk` are rupees; lots and quantity are counts."""

    lots: int | None = None
    quantity: int | None = None
    capital: float | None = None
    risk: float | None = None


class Target(msgspec.Struct):
    """What a (strategy, logical name) wants, as last changed. `wanted` is the pinned signed quantity in units, `reference` the price at
    which it was decided: entries never pay more than the cap beyond it.

    `latched` means the key acts no more until the strategy gives a different target; `pending` that a temporary refusal is to be
    retried at the strategy's next bar; `closing` that what is held goes before `wanted` counts. `purpose` is what its reducing orders
    are for (an exit, a square-off); with ROLL it is a leg of a roll, whichever way it goes.
    """

    strategy: str
    name: str
    instrument: Instrument
    raw: float
    wanted: int
    horizon: Horizon
    at: datetime
    reference: float = 0.0
    stop: float | None = None
    take_profit: float | None = None
    why: str = ""
    latched: bool = False
    pending: bool = False
    purpose: Purpose = Purpose.EXIT
    closing: bool = False

    @property
    def by_hand(self) -> bool:
        """A person's own order made it: nothing completes or chases it, until it is flattened with everything else."""
        return self.strategy == MANUAL and self.wanted != 0 and not self.closing


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The prices an order is capped against, and the day's circuit limits; 0.0 = unknown."""

    last: float
    bid: float = 0.0
    ask: float = 0.0
    low: float = 0.0
    high: float = 0.0


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What to do now: orders to cancel first, or requests to send, or neither (`waiting` says for what)."""

    cancel: tuple[Order, ...] = ()
    send: tuple[OrderRequest, ...] = ()
    waiting: str = ""


class SizingError(ValueError):
    """A size that cannot be turned into a quantity: what is missing (a stop for `risk`, a price for `capital`, a whole lot)."""


def quantity_for(size: Size, instrument: Instrument, target: float, price: float, stop: float | None) -> int:
    """Signed units for `target`, floored to whole lots; raises SizingError if that leaves nothing of a non-zero target."""
    if target == 0:
        return 0
    per_unit = price * instrument.multiplier
    if size.lots is not None:
        units = size.lots * instrument.lot * abs(target)
    elif size.quantity is not None:
        units = size.quantity * abs(target)
    elif size.capital is not None:
        units = size.capital * abs(target) / per_unit
    elif size.risk is not None:
        if stop is None or stop == price:
            raise SizingError(f"size by risk needs a stop away from the price {price}, got {stop}; let the signal carry one")
        units = size.risk * abs(target) / (abs(price - stop) * instrument.multiplier)
    else:
        raise SizingError("a size needs one of lots, quantity, capital, risk")
    if not units <= LARGEST_QUANTITY:
        raise SizingError(f"{instrument.key}: a size of {units:g} units for a target of {target:g} is beyond what any exchange takes")
    whole = int(units + 1e-9) // instrument.lot * instrument.lot
    if whole == 0:
        raise SizingError(
            f"{instrument.key}: a size of {units:.2f} units is less than one lot of {instrument.lot} at {price}; raise the strategy's size"
        )
    return whole if target > 0 else -whole


def capped_price(side: Side, instrument: Instrument, quote: Quote, cap_pct: float) -> float:
    """The limit of a marketable order: at most `cap_pct` percent beyond the touched side, on the tick, rounded to the passive side.

    Never beyond a circuit limit that the market itself keeps (the exchange would refuse it; one the market has passed is out of date).
    """
    touched = (quote.ask if side is Side.BUY else quote.bid) or quote.last
    price = touched * (1 + side.sign * cap_pct / 100)
    if quote.low <= touched <= quote.high:
        price = min(max(price, quote.low), quote.high)
    return max(instrument.tick_size, round_to_tick(price, instrument.tick_size, side))


def protection_hit(target: Target, held: int, price: float) -> str:
    """Which protection of `target` the price has reached, in words; empty when none has."""
    if held * target.wanted <= 0:
        return ""  # nothing to protect, or the other side's position on its way out
    sign = 1 if held > 0 else -1
    if target.stop is not None and (price - target.stop) * sign <= 0:
        return f"stop {round(target.stop, 4)} reached at {price}"
    if target.take_profit is not None and (price - target.take_profit) * sign >= 0:
        return f"profit target {round(target.take_profit, 4)} reached at {price}"
    return ""


def slices(instrument: Instrument, quantity: int) -> Iterator[int]:
    """`quantity` cut into orders no larger than the freeze quantity (already floored to lots)."""
    largest = instrument.freeze or quantity
    while quantity > 0:
        part = min(quantity, largest)
        yield part
        quantity -= part


def settled(target: Target, held: int, working: Sequence[Order]) -> bool:
    """Whether nothing is lacking and nothing is waited for: what is held and on its way is what is wanted."""
    coming = 0
    for order in working:
        if order.state is OrderState.UNKNOWN:
            return False
        coming += order.side.sign * order.remaining
    return (0 if target.closing else target.wanted) == held + coming


def plan(target: Target, *, held: int, working: Sequence[Order], shortfall: int, quote: Quote, cap_pct: float, now: datetime) -> Plan:
    """What `target` still lacks. `working` are the key's live orders (protection excluded).

    `shortfall` is signed: our believed net in the instrument less the broker's, as last compared (0: they agree).
    """
    wanted, coming = 0 if target.closing else target.wanted, 0
    for order in working:
        if order.state is OrderState.UNKNOWN:
            return Plan(waiting="evidence for an order of unknown fate")
        coming += order.side.sign * order.remaining
    lacking = wanted - held - coming
    if lacking == 0:
        return Plan()
    if working and (_opposes(coming, wanted - held) or abs(coming) > abs(wanted - held)):
        return _cancel_first(working)
    crossing = wanted * held < 0
    reducing = (wanted - held) * held < 0
    if crossing:
        lacking = -held - coming
        if lacking == 0:
            return Plan(waiting="the exit before the entry on the other side")
    side = Side.BUY if lacking > 0 else Side.SELL
    quantity = abs(lacking)
    if reducing:
        allowed = max(0, abs(held) - max(0, shortfall * (1 if held > 0 else -1)))
        quantity = min(quantity, max(0, allowed - abs(coming)))
        if quantity == 0:
            return Plan(waiting="the broker's position: it holds less for us than our ledger says")
    if quote.last <= 0:
        return Plan(waiting="a first price")
    price = capped_price(side, target.instrument, quote, cap_pct)
    purpose = target.purpose if reducing or target.purpose is Purpose.ROLL else Purpose.ENTRY
    freeze = target.instrument.freeze
    parts = (quantity,) if freeze is None or quantity <= freeze else islice(slices(target.instrument, quantity), MOST_SLICES)
    return Plan(send=tuple([_request(target, side, part, price, purpose, now) for part in parts]))


def _opposes(coming: int, towards: int) -> bool:
    return coming * towards < 0 or (towards == 0 and coming != 0)


def _cancel_first(working: Iterable[Order]) -> Plan:
    asked = tuple(order for order in working if order.state is not OrderState.PENDING_CANCEL)
    return Plan(cancel=asked, waiting="cancellations to be confirmed")


def _request(target: Target, side: Side, quantity: int, price: float, purpose: Purpose, now: datetime) -> OrderRequest:
    return OrderRequest(
        strategy=target.strategy,
        name=target.name,
        instrument=target.instrument,
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        horizon=target.horizon,
        purpose=purpose,
        limit_price=price,
        at=now,
        why=target.why,
    )


# --- the scripts of ICICI's users -------------------------------------------------------------------------------------------------------


def icici_buy(trade_type: bool, ticker: str, quantity: int, api_key: str, api_secret: str, access_token: str) -> dict[str, Any]:
    """Buy shares at ICICI Direct near the market, for delivery or (`trade_type` True) by MTF; see brokers.icici.ICICIAPIClient for what it
    returns and raises. The order is real: it goes to the broker directly, past the engine's rules."""
    from brokers.icici import ICICIAPIClient

    client = ICICIAPIClient(api_key, api_secret, access_token)
    return client.place_order(ticker, "BUY", quantity, "MARKET", ("CNC", "MTF")[trade_type], "NSE")


def icici_sell(trade_type: bool, ticker: str, quantity: int, api_key: str, api_secret: str, access_token: str) -> dict[str, Any]:
    """Sell shares at ICICI Direct near the market, as `icici_buy` buys them; what MTF bought cannot be sold by the API."""
    from brokers.icici import ICICIAPIClient

    client = ICICIAPIClient(api_key, api_secret, access_token)
    return client.place_order(ticker, "SELL", quantity, "MARKET", ("CNC", "MTF")[trade_type], "NSE")
