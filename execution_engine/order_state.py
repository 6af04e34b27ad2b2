"""The life of an order: which state may follow which, and what a broker's row does to what we know. Pure; no I/O, no clock.

Rules:
1. Every change of `Order.state` in this house goes through `move`, `merge` or `replied`, and obeys TRANSITIONS.
2. State and filled quantity are two independent axes: brokers report OPEN with fills and CANCELLED with fills.
3. Filled never decreases. Terminal beats live. Among live rows the larger filled wins, then the later broker time; a row that says
   "not yet at the exchange" never takes back one that says it is there, and within one broker second the settled label wins.
4. Brokers leave out intermediate states, so a row may jump along any chain of legal live steps; it may not jump backwards.
5. Fills count even when the label is unknown or impossible. A label that is not in the adapter's table is never guessed.
6. FILLED, CANCELLED, REJECTED and EXPIRED need a broker's word (or CANCELLED: our own abort before sending; REJECTED: its refusal).
   NOT_FOUND is ours, by the absence rule; any later row overrules it, as an anomaly.
7. PENDING_MODIFY and PENDING_CANCEL, once set by us, end with: a terminal row; a refused call (back to the state before); for a
   modification, a row with changed terms; or a row read after the call was answered (`fresh`). A mere poll does not end them.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from core.errors import NiyamError
from core.events import Action, OrderUpdate, Outcome, Reply
from core.types import ENDED, IST, Evidence, Order, OrderState
from core.types import OrderState as S

IN_FLIGHT: frozenset[OrderState] = frozenset({S.SENDING, S.UNKNOWN})
LIVE: frozenset[OrderState] = frozenset(
    {S.PENDING_NEW, S.AMO_QUEUED, S.TRIGGER_PENDING, S.WORKING, S.PENDING_MODIFY, S.PENDING_CANCEL},
)
TERMINAL = ENDED
COMMANDED: frozenset[OrderState] = frozenset({S.PENDING_MODIFY, S.PENDING_CANCEL})
_NOT_THERE = frozenset({S.PENDING_NEW, S.AMO_QUEUED})
_ENDED = frozenset({S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED})

TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {
    S.NEW: frozenset({S.DENIED, S.SENDING, S.CANCELLED}),
    S.DENIED: frozenset(),
    S.SENDING: frozenset({S.UNKNOWN, S.PENDING_NEW, S.AMO_QUEUED, S.TRIGGER_PENDING, S.WORKING, S.FILLED, S.REJECTED, S.CANCELLED}),
    S.UNKNOWN: frozenset({S.PENDING_NEW, S.AMO_QUEUED, S.TRIGGER_PENDING, S.WORKING, S.PENDING_CANCEL, S.NOT_FOUND}) | _ENDED,
    S.PENDING_NEW: frozenset({S.AMO_QUEUED, S.TRIGGER_PENDING, S.WORKING, S.PENDING_MODIFY, S.PENDING_CANCEL}) | _ENDED,
    S.AMO_QUEUED: frozenset({S.PENDING_NEW, S.TRIGGER_PENDING, S.WORKING, S.PENDING_MODIFY, S.PENDING_CANCEL}) | _ENDED,
    S.TRIGGER_PENDING: frozenset({S.WORKING, S.PENDING_MODIFY, S.PENDING_CANCEL}) | _ENDED,
    S.WORKING: frozenset({S.PENDING_MODIFY, S.PENDING_CANCEL}) | _ENDED,
    S.PENDING_MODIFY: frozenset({S.TRIGGER_PENDING, S.WORKING, S.PENDING_CANCEL, S.PENDING_MODIFY}) | _ENDED,  # and its previous state
    S.PENDING_CANCEL: frozenset({S.WORKING, S.PENDING_CANCEL}) | _ENDED,  # and its previous state
    S.FILLED: frozenset(),
    S.CANCELLED: frozenset({S.CANCELLED, S.FILLED}),  # itself only with more filled; each of these is an anomaly
    S.REJECTED: frozenset({S.REJECTED, S.FILLED}),
    S.EXPIRED: frozenset({S.EXPIRED, S.FILLED}),
    S.NOT_FOUND: frozenset({S.NOT_FOUND, S.FILLED}) | LIVE,
}
"""Which state may follow which; `legal` adds what a table of pairs cannot say (back to the previous one, only with more filled)."""

_RANKS = {
    rank: place
    for place, rank in enumerate((S.PENDING_NEW, S.AMO_QUEUED, S.PENDING_MODIFY, S.PENDING_CANCEL, S.TRIGGER_PENDING, S.WORKING))
}
_UNDATED = datetime(1970, 1, 1, tzinfo=IST)


class IllegalTransition(NiyamError):
    """A state may not follow the present one: a fault of ours, or a broker's contradiction. Journal, alert, freeze entries there."""


class Merged(msgspec.Struct, frozen=True, gc=False):
    """What is known after a row or reply: the order (the same object if nothing new was said) and what was odd about it.

    A non-empty `anomaly` is journalled, paged, and freezes entries in the instrument.
    """

    order: Order
    anomaly: str = ""


def legal(present: OrderState, following: OrderState, previous: OrderState | None = None, *, more_filled: bool = False) -> bool:
    """Whether `following` may come next. `previous` is the state before a PENDING_* one; `more_filled`: the filled quantity grew too."""
    if following is present and present in TERMINAL:
        return more_filled and following in TRANSITIONS[present]
    if following in TRANSITIONS[present]:
        return True
    return present in COMMANDED and following is previous


def move(
    order: Order,
    state: OrderState,
    at: datetime,
    *,
    reason: str | None = None,
    filled: int | None = None,
) -> Order:
    """The order in its new state; raises IllegalTransition. Entering PENDING_* keeps the state before it in `previous_state`."""
    filled = order.filled if filled is None else filled
    if filled < order.filled:
        raise IllegalTransition(f"order {order.id}: filled may not fall from {order.filled} to {filled}; journal it and read the books")
    if not legal(order.state, state, order.previous_state, more_filled=filled > order.filled):
        raise IllegalTransition(
            f"order {order.id} ({order.instrument.key}) may not go from {order.state} to {state}; "
            f"journal it, freeze entries in the instrument and read the broker's books"
        )
    return _in_state(order, state, at, filled=filled, reason=reason)


def merge(order: Order, update: OrderUpdate, *, fresh: bool = False) -> Merged:
    """What is known after one broker row, whatever its source. Any order and repetition of the same rows ends in the same order.

    `fresh`: the row was read after our last command on this order had been answered, so it also settles that command (rule 7).
    Never raises: what cannot be is kept out of the state, its fills are counted, and `anomaly` says what it was.
    """
    oddities: list[str] = []
    if order.broker_order_id is not None and order.broker_order_id != update.broker_order_id:
        oddities.append(f"two broker orders carry one intent: {order.broker_order_id} and {update.broker_order_id}")
        return Merged(order, _anomaly(order, oddities))
    known = _with_filled(order, update.filled, update.average_price, update.at, update.quantity, oddities)
    state = _said(update)
    if state is None:
        known = _named(known, update)
        oddities.append(f"the broker's label {update.label!r} is in no table; its state is not guessed")
        return Merged(known, _anomaly(known, oddities))
    row = Evidence(state, update.filled, update.at, update.exchange_at)
    old = known.evidence
    if old is None or (_outweighs(row, old) and not _repeats(row, old, update, known)):
        known = _take(known, row, update, oddities, settles=fresh)
    elif fresh and known.state in COMMANDED and _weight(row)[:-1] >= _weight(old)[:-1]:
        known = _settle(known, row)
    if known.broker_order_id is None:
        known = _named(known, update)
    return Merged(known, _anomaly(known, oddities)) if oddities else Merged(known)


def replied(order: Order, reply: Reply) -> Merged:
    """What is known after one of our calls ended. A late place-ack never moves the state backwards; ACK never means filled."""
    if reply.action is Action.PLACE:
        return _place_replied(order, reply)
    mine = S.PENDING_MODIFY if reply.action is Action.MODIFY else S.PENDING_CANCEL
    if reply.outcome is not Outcome.REJECT or order.state is not mine:
        return Merged(order)
    back = order.previous_state
    if order.evidence is not None and order.evidence.state in (S.TRIGGER_PENDING, S.WORKING):
        back = order.evidence.state  # it may have triggered while the command was under way
    if back is None or not legal(order.state, back, order.previous_state):
        return Merged(order, f"order {order.id} ({order.instrument.key}): {reply.action} refused and no state to go back to is known")
    return Merged(move(order, back, reply.at, reason=f"{reply.action} refused: {reply.reason}"))


def filled_to(order: Order, filled: int, average_price: float, at: datetime) -> Merged:
    """Raise `filled` on the evidence of trades, ahead of the order row. The state waits for the row (a modification may be under way)."""
    oddities: list[str] = []
    known = _with_filled(order, filled, average_price, at, 0, oddities)
    return Merged(known, _anomaly(known, oddities))


# --- the parts -----------------------------------------------------------------------------------------------------------------------


def _in_state(order: Order, state: OrderState, at: datetime, *, filled: int, reason: str | None) -> Order:
    return msgspec.structs.replace(
        order,
        state=state,
        previous_state=_before(order, state),
        updated_at=at if at > order.updated_at else order.updated_at,
        filled=filled,
        reason=order.reason if reason is None else reason,
    )


def _before(order: Order, state: OrderState) -> OrderState | None:
    """What `previous_state` is when the order enters `state`."""
    if state in COMMANDED and order.state not in COMMANDED:
        return order.state
    return None if state in LIVE and state not in COMMANDED else order.previous_state


def _named(order: Order, update: OrderUpdate) -> Order:
    """With the broker's id, which its first row tells."""
    return order if order.broker_order_id is not None else msgspec.structs.replace(order, broker_order_id=update.broker_order_id)


def _place_replied(order: Order, reply: Reply) -> Merged:
    known, oddities = order, list[str]()
    if reply.outcome is Outcome.ACK:
        if known.broker_order_id is None:
            known = msgspec.structs.replace(known, broker_order_id=reply.broker_order_id)
        elif known.broker_order_id != reply.broker_order_id:
            oddities.append(f"two broker orders carry one intent: {known.broker_order_id} and {reply.broker_order_id}")
        if known.state in IN_FLIGHT:
            known = move(known, S.PENDING_NEW, reply.at)
        elif known.state is S.NOT_FOUND:
            known = move(known, S.PENDING_NEW, reply.at)
            oddities.append("an order given up as NOT_FOUND was acknowledged after all")
    elif reply.outcome is Outcome.REJECT:
        if known.state in IN_FLIGHT:
            known = move(known, S.REJECTED, reply.at, reason=reply.reason)
        elif known.state is not S.REJECTED:
            oddities.append(f"the place call was refused ({reply.reason}) but the order is known as {known.state}")
    elif known.state is S.SENDING:
        known = move(known, S.UNKNOWN, reply.at, reason=reply.reason)
    return Merged(known, _anomaly(known, oddities))


def _said(update: OrderUpdate) -> OrderState | None:
    """The state a row stands for: its label, corrected where its own filled quantity proves more."""
    state, filled = update.state, update.filled
    if filled > 0 and state in LIVE:
        if filled >= update.quantity > 0:
            return S.FILLED
        if state in _NOT_THERE:
            return S.WORKING
    return state


def _outweighs(row: Evidence, old: Evidence) -> bool:
    over = row.state in TERMINAL
    return _weight(row) > _weight(old) if over is (old.state in TERMINAL) else over


def _weight(row: Evidence) -> tuple[bool, bool, int, bool, datetime, int, datetime]:
    """Rule 3 as a total order: the heaviest row seen decides, so the sequence of arrival does not matter."""
    return (
        row.state in TERMINAL,
        row.state is S.FILLED,
        row.filled,
        row.state not in _NOT_THERE,
        row.exchange_at or _UNDATED,
        _RANKS.get(row.state, len(_RANKS)),
        row.at,
    )


def _repeats(row: Evidence, old: Evidence, update: OrderUpdate, order: Order) -> bool:
    """The row says exactly what the newest one said; only the moment we saw it differs."""
    return (
        (row.state, row.filled, row.exchange_at) == (old.state, old.filled, old.exchange_at)
        and not _terms_differ(order, update)
        and (update.reason or order.reason) == order.reason
    )


def _terms_differ(order: Order, update: OrderUpdate) -> bool:
    """Quantity, limit or trigger are not those we hold (0 and None in a row mean that it does not say)."""
    return (
        (update.quantity > 0 and update.quantity != order.quantity)
        or (update.limit_price > 0 and update.limit_price != order.limit_price)
        or (update.trigger_price is not None and update.trigger_price > 0 and update.trigger_price != order.trigger_price)
    )


def _with_filled(order: Order, filled: int, average: float, at: datetime, quantity: int, oddities: list[str]) -> Order:
    """`quantity`: the row's own, which may be newer than the order's (0: it does not say)."""
    if filled < order.filled or (filled == order.filled and (order.average_price > 0 or average <= 0)):
        return order
    if filled > order.filled and order.state in TERMINAL:
        oddities.append(f"filled grew from {order.filled} to {filled} after the order had ended {order.state}")
    if filled > order.quantity and filled > quantity:
        oddities.append(f"overfilled: {filled} of {max(order.quantity, quantity)}; the fills count")
    return msgspec.structs.replace(
        order,
        filled=filled,
        average_price=average if average > 0 else order.average_price,
        updated_at=at if at > order.updated_at else order.updated_at,
    )


def _take(order: Order, row: Evidence, update: OrderUpdate, oddities: list[str], *, settles: bool) -> Order:
    """The row outweighs all before it: take its terms, and its state where the table allows."""
    held = order.state in COMMANDED and row.state in LIVE - COMMANDED and not settles and _commanded_by_us(order)
    if held and order.state is S.PENDING_MODIFY and _terms_differ(order, update):
        held = False
    if order.state is S.NEW:
        oddities.append("the broker has a row for an order that was never sent")
    if order.state in TERMINAL and row.state is not order.state:
        if row.state not in TERMINAL and order.state is not S.NOT_FOUND:
            oddities.append(f"the broker shows {row.state} for an order that ended {order.state}")
            return msgspec.structs.replace(order, evidence=row)
        oddities.append(f"{row.state} after the order had ended {order.state}")
    state = order.state if held else row.state
    if state is not order.state and not _reachable(order, state):
        oddities.append(f"{state} cannot follow {order.state}; the state is kept")
        state = order.state
    return msgspec.structs.replace(
        order,
        state=state,
        previous_state=order.previous_state if state is order.state else _before(order, state),
        evidence=row,
        broker_order_id=order.broker_order_id or update.broker_order_id,
        quantity=update.quantity if update.quantity > 0 else order.quantity,
        limit_price=update.limit_price if update.limit_price > 0 else order.limit_price,
        trigger_price=update.trigger_price if update.trigger_price else order.trigger_price,
        product=update.product or order.product,
        reason=update.reason or order.reason,
        updated_at=row.at if row.at > order.updated_at else order.updated_at,
    )


def _commanded_by_us(order: Order) -> bool:
    return order.evidence is None or order.evidence.state is not order.state


def _settle(order: Order, row: Evidence) -> Order:
    if row.state in COMMANDED or row.state is order.state or not _reachable(order, row.state):
        return order
    return _in_state(order, row.state, row.at, filled=order.filled, reason=None)


def _chains() -> dict[OrderState, frozenset[OrderState]]:
    """For each state, all that can be reached through legal steps over live or in-flight states (rule 4)."""
    found: dict[OrderState, frozenset[OrderState]] = {}
    for start in OrderState:
        seen: set[OrderState] = set()
        front = [start]
        while front:
            state = front.pop()
            for following in TRANSITIONS[state] - seen:
                seen.add(following)
                if following not in TERMINAL:
                    front.append(following)
        found[start] = frozenset(seen)
    return found


_REACHABLE = _chains()


def _reachable(order: Order, state: OrderState) -> bool:
    if state in _REACHABLE[order.state]:
        return True
    before = order.previous_state
    return order.state in COMMANDED and before is not None and (state is before or state in _REACHABLE[before])


def _anomaly(order: Order, oddities: list[str]) -> str:
    return f"order {order.id} ({order.instrument.key}): {'; '.join(oddities)}" if oddities else ""
