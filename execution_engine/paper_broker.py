"""A broker on paper: price, margin and stop rules against the market the engine sees. It never sends anything anywhere.

1. Nothing fills on the event that bore it: an order meets only events strictly later than its placing or last change.
2. On a tick a marketable LIMIT takes the opposite side of the book at its price, up to the size shown (the last price, and any size, where
   the feed has no book); what remains rests. A resting LIMIT also fills, at its limit, when trades went through it: the last price is
   beyond it and volume was traded since this order last saw a tick.
3. On a bar (backtests): at the open if the limit allows, else at the limit if the bar went beyond it; stops before limits. An order born
   inside the bar sees only its close. A fill at the open is dated at the bar's start, any other at its end.
4. A stop fires on the last price and is a LIMIT from then on. The rest of an IOC is cancelled after its first event.
5. Ids come from the order's tag, so the same run has the same ids and a restart invents none.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import msgspec

from core.events import Action, Books, BrokerPosition, Event, OrderUpdate, Outcome, Reply, Trade
from core.expiries import floor_to_lot
from core.ports import Clock
from core.types import Account, Bar, Fill, Horizon, Instrument, Order, OrderState, OrderType, Position, Side, Tick, Validity
from execution_engine.costs import Cost
from execution_engine.order_state import TERMINAL
from execution_engine.paper_rules import (
    MAX_MODIFICATIONS,
    PLAIN,
    FillRules,
    MarginRates,
    Sessions,
    limit_in_bar,
    reached,
    refusal,
    stop_in_bar,
    touched,
    within,
)

_GONE = "Order cannot be {} as it is being processed. Try later."


class _Resting:
    """One order in the paper book: the terms as they are now, and how far it has come."""

    __slots__ = ("filled", "id", "modifications", "order", "reason", "since", "state", "volume", "worth")

    def __init__(self, order: Order, since: datetime, state: OrderState) -> None:
        self.order = order
        self.id = f"P{order.tag}"
        self.since = since
        self.state = state
        self.filled = 0
        self.worth = 0.0
        self.reason = ""
        self.modifications = order.modifications
        self.volume: int | None = None  # the day's volume when this order last saw a tick

    @property
    def remaining(self) -> int:
        return self.order.quantity - self.filled

    @property
    def resting(self) -> bool:
        return self.state in (OrderState.WORKING, OrderState.TRIGGER_PENDING)

    def row(self, at: datetime, exchange_at: datetime, trades: tuple[Trade, ...] = ()) -> OrderUpdate:
        order = self.order
        return OrderUpdate(
            at=at,
            source="paper",
            broker_order_id=self.id,
            instrument=order.instrument,
            side=order.side,
            quantity=order.quantity,
            state=self.state,
            filled=self.filled,
            average_price=self.worth / self.filled if self.filled else 0.0,
            tag=order.tag,
            label=str(self.state),
            product=order.product,
            order_type=order.order_type,
            limit_price=order.limit_price,
            trigger_price=order.trigger_price,
            reason=self.reason,
            exchange_at=exchange_at,
            trades=trades,
        )


class _Held:
    """The net position in one (instrument, product)."""

    __slots__ = ("blocked", "cost", "horizon", "instrument", "product")

    def __init__(self, instrument: Instrument, product: str, horizon: Horizon) -> None:
        self.instrument = instrument
        self.product = product
        self.horizon = horizon
        self.cost = Cost()
        self.blocked = 0.0  # rupees of margin

    def take(self, quantity: int, value: int, rates: MarginRates) -> None:
        """Book a signed quantity worth `value` paise."""
        cost = self.cost
        cost.add(quantity, value)
        if cost.quantity == 0:
            self.blocked = 0.0
            return
        side, average = Side.BUY if cost.quantity > 0 else Side.SELL, cost.average(self.instrument.multiplier)
        self.blocked = rates.blocked(self.instrument, self.horizon, side, abs(cost.quantity), average)


class PaperBroker:
    """core.ports.Executor for paper and practice accounts and for backtests. Only the engine thread calls it."""

    def __init__(
        self,
        account: Account,
        clock: Clock,
        *,
        sessions: Sessions | None = None,
        rates: MarginRates | None = None,
        fills: FillRules = PLAIN,
    ) -> None:
        """`account.capital` is the money there is; `sessions` None means always open. Charges are the portfolio's, not taken off here."""
        self._fills = fills
        self._latency = timedelta(seconds=fills.latency_s)
        self._account = account
        self._clock = clock
        self._sessions = sessions
        self._rates = rates or MarginRates()
        self._events: list[Event] = []
        self._book: dict[str, _Resting] = {}  # every order of the day by broker id
        self._waiting: dict[str, list[_Resting]] = {}  # those that rest, by instrument key, in order of arrival
        self._trades: list[Trade] = []
        self._held: dict[tuple[str, str], _Held] = {}
        self._last: dict[str, float] = {}
        self._day: date | None = None

    # --- the Executor port -------------------------------------------------------------------------------------------------------------

    def prepare(self, order: Order) -> None:
        return None

    def forget(self, order: Order) -> None:
        return None

    def place(self, order: Order) -> None:
        """Take the order or refuse it: its first row, or the Reply that refuses it, is in the next drain. Nobody stands between us and
        this exchange, so that the row itself is the acknowledgement."""
        now = self._clock.now()
        self._roll(now.date())
        reason = refusal(order, now, self._sessions, self._last.get(order.instrument.key))
        if f"P{order.tag}" in self._book:
            reason = f"The tag {order.tag} is in the book already; one intent is one order."
        if reason:
            self._answer(Action.PLACE, order, reason, None)
            return
        armed = OrderState.TRIGGER_PENDING if order.order_type is OrderType.SL else OrderState.WORKING
        resting = _Resting(order, max(now, order.created_at) + self._latency, armed)
        resting.reason = self._short_of(self.required(order))
        if resting.reason:
            resting.state = OrderState.REJECTED
        else:
            self._waiting.setdefault(order.instrument.key, []).append(resting)
        self._book[resting.id] = resting
        self._events.append(resting.row(now, resting.since))

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        """Change a resting order. An armed stop whose `trigger_price` is None becomes a LIMIT at once (the stop turned into the exit)."""
        now = self._clock.now()
        resting = self._find(order)
        if resting is None or quantity <= resting.filled:
            self._answer(Action.MODIFY, order, _GONE.format("modified"), None)
            return
        armed = resting.state is OrderState.TRIGGER_PENDING and trigger_price is not None
        changed = msgspec.structs.replace(
            resting.order,
            quantity=quantity,
            limit_price=limit_price,
            trigger_price=trigger_price if armed else resting.order.trigger_price,
            order_type=OrderType.SL if armed else OrderType.LIMIT,
        )
        reason = refusal(changed, now, self._sessions, self._last.get(order.instrument.key))
        if resting.modifications >= MAX_MODIFICATIONS:
            reason = "Maximum allowed order modifications exceeded."
        closable = self._closable(changed, before=resting)
        reason = reason or self._short_of(self._margin(changed, quantity - resting.filled, closable) - self._blocks(resting))
        if reason:
            self._answer(Action.MODIFY, order, reason, None)
            return
        resting.order = changed
        resting.modifications += 1
        resting.since = now + self._latency
        resting.state = OrderState.TRIGGER_PENDING if armed else OrderState.WORKING
        self._answer(Action.MODIFY, order, "", resting.id)
        self._events.append(resting.row(now, now))

    def cancel(self, order: Order) -> None:
        """Take a resting order out of the book."""
        now = self._clock.now()
        resting = self._find(order)
        if resting is None:
            self._answer(Action.CANCEL, order, _GONE.format("cancelled"), None)
            return
        self._answer(Action.CANCEL, order, "", resting.id)
        self._end(resting, OrderState.CANCELLED, now, "")

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        """The whole of the day's orders and trades, and the net positions, as one complete read."""
        now = self._clock.now()
        self._roll(now.date())
        held = tuple(
            BrokerPosition(
                instrument=held.instrument,
                product=held.product,
                quantity=held.cost.quantity,
                average_price=held.cost.average(held.instrument.multiplier),
                last_price=self._last.get(held.instrument.key, 0.0),
            )
            for held in self._held.values()
        )
        rows = tuple(resting.row(now, resting.since) for resting in self._book.values())
        self._events.append(Books(now, now, rows, tuple(self._trades), held if positions else None))

    def on_market(self, event: Event) -> bool:
        """Let a tick or a bar meet the orders that were there before it."""
        if isinstance(event, Bar):
            if event.warmup:
                return bool(self._events)
            key = event.instrument.key
            self._last[key] = event.close
            if key in self._waiting:
                self._meet_bar(event, self._waiting[key])
        elif isinstance(event, Tick):
            key = event.instrument.key
            self._last[key] = event.price
            if key in self._waiting:
                self._meet_tick(event, self._waiting[key])
        return bool(self._events)

    def drain(self) -> list[Event]:
        """What happened since the last call, in order."""
        events = self._events
        if events:
            self._events = []
        return events

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        """Take up the ledger's word at start: today's orders (all of them or the live ones), what is held, today's fills.

        The paper exchange died with the process, so the ledger is all there is: an order that was acknowledged goes on; one that was
        still being sent never arrived and is rejected; a DAY order of an earlier day has expired.
        """
        now = self._clock.now()
        self._day = now.date()
        for stored in positions:
            if stored.instrument.expiry is not None and stored.instrument.expiry < self._day:
                continue  # settled, or to be settled, by the portfolio
            held = self._hold(stored.instrument, stored.product, stored.horizon)
            held.take(stored.quantity, stored.cost, self._rates)
            held.cost.realised += stored.realised
        for order in orders:
            self._take_up(order, now)
        by_order = {resting.order.id: resting for resting in self._book.values()}
        for fill in fills:
            taken = by_order.get(fill.order_id)
            if taken is not None and fill.at.date() == self._day:
                self._trades.append(Trade(fill.id, taken.id, fill.instrument, fill.side, fill.quantity, fill.price, fill.at))

    def end_of_day(self, now: datetime) -> None:
        """The session is over: whatever still rests has expired."""
        for resting in [each for waiting in self._waiting.values() for each in waiting]:
            self._end(resting, OrderState.EXPIRED, now, "The DAY order was not filled by the end of the session.")

    # --- money -------------------------------------------------------------------------------------------------------------------------

    def available(self) -> float:
        """Rupees free for new orders: capital and realised P&L, less what positions and resting orders block."""
        free = self._account.capital
        for held in self._held.values():
            free += held.cost.realised / 100 - held.blocked
        for waiting in self._waiting.values():
            for each in waiting:
                free -= self._blocks(each)
        return free

    def required(self, order: Order) -> float:
        """Rupees that this order would block; what closes a position, and is not already being closed, blocks nothing."""
        return self._margin(order, order.remaining, self._closable(order, before=None))

    def _short_of(self, required: float) -> str:
        """The broker's words if `required` more rupees are not free; empty if they are."""
        if required <= 0 or required <= (available := self.available()):
            return ""
        return (
            f"Insufficient funds. Required margin is {required:.2f} but available margin is {available:.2f}. "
            f"Check the orderbook for open orders."
        )

    def _blocks(self, resting: _Resting) -> float:
        return self._margin(resting.order, resting.remaining, self._closable(resting.order, before=resting))

    def _margin(self, order: Order, quantity: int, closable: int) -> float:
        return self._rates.blocked(order.instrument, order.horizon, order.side, max(0, quantity - closable), order.limit_price)

    def _closable(self, order: Order, before: _Resting | None) -> int:
        """Units of the position that `order` may still close, after those resting orders of its side that arrived before it."""
        held = self._held.get((order.instrument.key, order.product))
        if held is None:
            return 0
        closable = -order.side.sign * held.cost.quantity
        for each in self._waiting.get(order.instrument.key, ()):
            if each is before or closable <= 0:
                break
            if each.order.side is order.side and each.order.product == order.product:
                closable -= each.remaining
        return max(0, closable)

    # --- the market --------------------------------------------------------------------------------------------------------------------

    def _meet_tick(self, tick: Tick, waiting: list[_Resting]) -> None:
        if not self._open(tick.instrument, tick.at):
            return
        taken = {Side.BUY: 0, Side.SELL: 0}
        for resting in list(waiting):
            if resting.since < tick.at:
                taken[resting.order.side] += self._meet(resting, tick, taken[resting.order.side])

    def _meet(self, resting: _Resting, tick: Tick, taken: int) -> int:
        """Let one order meet one tick, of whose opposite side `taken` units are gone; returns the units it took of it."""
        order = resting.order
        if resting.state is OrderState.TRIGGER_PENDING:
            if order.trigger_price is None or not reached(order.side, order.trigger_price, tick.price):
                return 0
            resting.state = OrderState.WORKING
            resting.since = tick.at
            self._events.append(resting.row(tick.at, tick.at))
        seen, resting.volume = resting.volume, tick.volume
        took = 0
        offer = touched(order.side, tick)
        if offer is not None and within(order.side, order.limit_price, offer[0]):
            price, units = offer
            took = resting.remaining if units is None else min(resting.remaining, max(0, units - taken))
            took = self._capped(order.instrument, took, tick.quantity)
            price = self._fills.worsened(order, price, booked=units is not None)
            self._fill(resting, took, price, tick.at, tick.exchange_at or tick.at)
        elif (
            seen is not None
            and tick.volume > seen
            and tick.price != order.limit_price
            and within(order.side, order.limit_price, tick.price)
        ):
            self._fill(resting, min(resting.remaining, tick.volume - seen), order.limit_price, tick.at, tick.exchange_at or tick.at)
        if order.validity is Validity.IOC and resting.resting:
            self._end(resting, OrderState.CANCELLED, tick.at, "")
        return took

    def _meet_bar(self, bar: Bar, waiting: list[_Resting]) -> None:
        if not self._open(bar.instrument, bar.start):
            return
        stops_first = sorted(waiting, key=lambda each: each.state is not OrderState.TRIGGER_PENDING) if len(waiting) > 1 else tuple(waiting)
        for resting in stops_first:
            if resting.since >= bar.at:
                continue
            order = resting.order
            seen = bar if resting.since <= bar.start else msgspec.structs.replace(bar, open=bar.close, high=bar.close, low=bar.close)
            opened = seen is bar and within(order.side, order.limit_price, bar.open)
            if resting.state is OrderState.TRIGGER_PENDING and order.trigger_price is not None:
                fired, price = stop_in_bar(order.side, order.trigger_price, order.limit_price, seen)
                if not fired:
                    continue
                opened = opened and reached(order.side, order.trigger_price, bar.open)
                resting.state = OrderState.WORKING
                self._events.append(resting.row(bar.at, bar.at))
            else:
                price = limit_in_bar(order.side, order.limit_price, seen)
            if price is not None:
                wanted = resting.remaining
                traded = floor_to_lot(bar.volume, order.instrument.lot) if bar.volume else wanted  # 0: data without volumes
                most = self._capped(order.instrument, min(wanted, traded), bar.volume)
                price = price if price == order.limit_price else self._fills.worsened(order, price, booked=False)
                self._fill(resting, most, price, bar.at, bar.start if opened else bar.at)
            if order.validity is Validity.IOC and resting.resting:
                self._end(resting, OrderState.CANCELLED, bar.at, "")

    def _capped(self, instrument: Instrument, wanted: int, volume: int) -> int:
        most = self._fills.most(instrument, volume)
        return wanted if most is None else min(wanted, most)

    def _fill(self, resting: _Resting, quantity: int, price: float, at: datetime, exchange_at: datetime) -> None:
        if quantity <= 0:
            return
        order = resting.order
        resting.filled += quantity
        resting.worth += quantity * price
        resting.state = OrderState.WORKING if resting.remaining else OrderState.FILLED
        resting.since = at
        trade = Trade(f"{resting.id}-{resting.filled}", resting.id, order.instrument, order.side, quantity, price, exchange_at)
        self._trades.append(trade)
        held = self._hold(order.instrument, order.product, order.horizon)
        sign = order.side.sign
        held.take(sign * quantity, sign * round(quantity * price * order.instrument.multiplier * 100), self._rates)
        if resting.state is OrderState.FILLED:
            self._remove(resting)
        self._events.append(resting.row(at, at, (trade,)))

    # --- the book ----------------------------------------------------------------------------------------------------------------------

    def _open(self, instrument: Instrument, at: datetime) -> bool:
        return self._sessions is None or self._sessions.is_open(instrument, at)

    def _find(self, order: Order) -> _Resting | None:
        resting = self._book.get(order.broker_order_id or f"P{order.tag}")
        return resting if resting is not None and resting.resting else None

    def _end(self, resting: _Resting, state: OrderState, at: datetime, reason: str) -> None:
        resting.state = state
        resting.since = at
        resting.reason = reason
        self._remove(resting)
        self._events.append(resting.row(at, at))

    def _remove(self, resting: _Resting) -> None:
        key = resting.order.instrument.key
        waiting = self._waiting[key]
        waiting.remove(resting)
        if not waiting:
            del self._waiting[key]

    def _hold(self, instrument: Instrument, product: str, horizon: Horizon) -> _Held:
        held = self._held.get((instrument.key, product))
        if held is None:
            held = self._held[instrument.key, product] = _Held(instrument, product, horizon)
        if held.cost.quantity == 0:
            held.horizon = horizon
        return held

    def _answer(self, action: Action, order: Order, refused: str, broker_order_id: str | None) -> None:
        self._events.append(
            Reply(
                at=self._clock.now(),
                action=action,
                order_id=order.id,
                outcome=Outcome.REJECT if refused else Outcome.ACK,
                broker_order_id=broker_order_id,
                error="Rejected" if refused else "",
                reason=refused,
            )
        )

    def _roll(self, day: date) -> None:
        """A broker's book holds today only."""
        if day != self._day:
            self._day = day
            self._book = {key: each for key, each in self._book.items() if each.resting}
            self._held = {key: each for key, each in self._held.items() if each.instrument.expiry is None or each.instrument.expiry >= day}
            self._trades.clear()

    def _take_up(self, order: Order, now: datetime) -> None:
        armed = order.order_type is OrderType.SL and OrderState.WORKING not in (order.state, order.previous_state) and order.filled == 0
        resting = _Resting(order, order.updated_at, OrderState.TRIGGER_PENDING if armed else OrderState.WORKING)
        resting.id = order.broker_order_id or resting.id
        resting.filled = order.filled
        resting.worth = order.filled * order.average_price
        self._book[resting.id] = resting
        if order.state in TERMINAL:
            resting.state = order.state
            resting.reason = order.reason
            return
        self._waiting.setdefault(order.instrument.key, []).append(resting)
        if order.broker_order_id is None:
            self._end(resting, OrderState.REJECTED, now, "The process ended before this order reached the paper exchange.")
        elif order.created_at.date() < now.date():
            self._end(resting, OrderState.EXPIRED, now, "The DAY order was not filled by the end of its session.")
