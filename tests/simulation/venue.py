"""The broker's side of a simulated day: the real exchange of simulators/, its book as a broker shows it, prices, logins, and other people.

It lives in true time whether the daemon does or not. What it tells the daemon goes through `hear`, which the daemon's feed sets.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from core.errors import BrokerError, Rejected, SessionExpired
from core.events import BrokerPosition, Event, Funds, Guard, OrderUpdate, Trade
from core.types import Instrument, Order, OrderState, OrderType, Purpose, Side, Tick
from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.orders import Change, HistoryRow, OrderParams, OrderRefused, SimOrder, SimTrade, Status
from tests.simulation.faults import Fault, Plan
from tests.simulation.market import KEYS, WaveMarket, clock
from tests.simulation.personality import Personality
from tests.simulation.virtual import VirtualClock

TYPES = {"LIMIT": OrderType.LIMIT, "SL": OrderType.SL}
STATES = {
    Status.RECEIVED: OrderState.PENDING_NEW,
    Status.VALIDATING: OrderState.PENDING_NEW,
    Status.OPEN_PENDING: OrderState.PENDING_NEW,
    Status.AMO_RECEIVED: OrderState.AMO_QUEUED,
    Status.OPEN: OrderState.WORKING,
    Status.MODIFIED: OrderState.WORKING,
    Status.TRIGGER_PENDING: OrderState.TRIGGER_PENDING,
    Status.MODIFY_VALIDATING: OrderState.PENDING_MODIFY,
    Status.MODIFY_PENDING: OrderState.PENDING_MODIFY,
    Status.CANCEL_PENDING: OrderState.PENDING_CANCEL,
    Status.COMPLETE: OrderState.FILLED,
    Status.CANCELLED: OrderState.CANCELLED,
    Status.REJECTED: OrderState.REJECTED,
}
TOLD = frozenset({Status.OPEN, Status.MODIFIED, Status.COMPLETE, Status.CANCELLED, Status.REJECTED})  # a socket leaves the others out


class Watched(Exchange):
    """The exchange, which tells before it takes an order of ours."""

    arriving: Callable[[OrderParams], None] = staticmethod(lambda params: None)

    def place(self, user: str, params: OrderParams, now: datetime, *, late: bool = False) -> SimOrder:
        if params.tag is not None:
            self.arriving(params)
        return super().place(user, params, now, late=late)


class Venue:
    """One broker with one account of ours. `placed` and `traded` are called with what reaches it and what fills there."""

    def __init__(self, seed: int, clock_: VirtualClock, plan: Plan, known: Facts, broker: Personality) -> None:
        self.clock = clock_
        self.plan = plan
        self.broker = broker
        self.book_lag_s = random.Random(f"lag {seed}").uniform(*broker.book_lag_s)
        self.chance = random.Random(f"venue {seed}")
        self.market = WaveMarket(seed, known)
        self.market.move_to(clock_.true)
        self.exchange = Watched(self.market, known, seed, broker=broker.name, cash=50_000_000.0)
        self.exchange.arriving = self._arriving
        self.exchange.open_day(self.market.day)
        self.account = self.exchange.account(broker.user)
        self.instruments: dict[str, Instrument] = {}
        self.order_id: Callable[[SimOrder], str] = attrgetter("id")  # what its pushed updates call an order
        self.hear: Callable[[Event], None] | None = None  # the daemon's feed, while it is connected
        self.struck: Callable[[], None] | None = None  # the feed looks what a fault does to it
        self.busy: Callable[[], bool] = lambda: False  # whether the daemon has orders under way
        self.simulator: Callable[[datetime], None] | None = None  # what moves the exchange instead of us
        self.placed: Callable[[SimOrder], None] = lambda booked: None
        self.traded: Callable[[SimOrder, SimTrade], None] = lambda order, trade: None
        self.token = "token-1"
        self.dead: set[str] = set()
        self.ticked: dict[str, datetime] = {}  # when the last good tick of each key was handed to the daemon, true time
        self.stirred = clock_.true  # when something last happened to an order here
        self.guards: dict[str, Guard] = {}
        self._armed: datetime | None = None
        self._rows: dict[tuple[str, int], OrderUpdate] = {}
        self._trades: list[Trade] = []
        self._known: set[str] = set()
        self._counted: dict[str, int] = {}  # order -> what of it had filled when its trades were last asked for
        self._unseen: dict[str, SimOrder] = {}  # what changed since order states were asked for last, where they are
        for fault in plan.faults:
            clock_.at(fault.start, lambda fault=fault: self._begin(fault))  # type: ignore[misc]
            clock_.at(fault.end, lambda fault=fault: self._end(fault))  # type: ignore[misc]
        clock_.at(clock("09:15") + timedelta(milliseconds=700), self._tick)

    # --- time ---------------------------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Play the exchange up to now and tell what happened."""
        now = self.clock.true
        self.market.move_to(now)
        if self.simulator is not None:
            self.simulator(now)
        else:
            for change in self.exchange.advance(now):
                self.told(change)
        due = self.exchange.next_due()
        if due is not None and (self._armed is None or due < self._armed or self._armed <= now):
            self._armed = due
            self.clock.at(due, self.advance)

    def _tick(self) -> None:
        """Prices to the daemon: sparse while nothing is under way, each second around faults and orders."""
        self.advance()
        now = self.clock.true
        if now >= clock("15:40"):
            return
        for key in KEYS:
            self._quote(key, now)
        if self.busy() or self.plan.edge(now, 20):
            step = 1.0
        elif self.plan.near(now, 70):
            step = 5.0
        else:
            step = 60.0
        minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1, milliseconds=700)
        self.clock.at(min(now + timedelta(seconds=step), minute), self._tick)

    def _quote(self, key: str, now: datetime) -> None:
        plan, instrument = self.plan, self.instruments.get(key)
        mute = plan.active("instrument_mute", now)
        if instrument is None or self.hear is None or plan.active("feed_mute", now) or (mute is not None and mute.key == key):
            return
        if self.exchange._sessions.phase(self.market.listings[key], now) is None:
            return
        quote = self.market.quote(key, now, shown=True)
        price, made = quote.last_price, now
        fault = plan.active("tick_garbage", now)
        good = True
        if fault is not None and fault.chance.random() < 0.5:
            price, good = fault.chance.choice((0.0, -price, float("nan"), price * 100, 0.05)), False
        elif plan.active("tick_spike", now) is not None and (spike := plan.strike("tick_spike", now)) is not None:
            price, good = price * spike.chance.choice((0.5, 0.8, 1.25, 2.0)), False
        elif plan.active("tick_stale", now) is not None:
            made, good = now - timedelta(seconds=120), False
        bid, ask = quote.bids[0], quote.asks[0]
        made = self.market.halted_at or made
        tick = Tick(
            instrument, self.clock.now(), price, quote.volume, quote.last_quantity, made.replace(microsecond=0),
            bid[0], ask[0], bid[1], ask[1],
        )  # fmt: skip
        if good:
            self.ticked[key] = now
        self.hear(tick)

    # --- what the account's books say ---------------------------------------------------------------------------------------------------

    def orders(self, at: datetime) -> tuple[OrderUpdate, ...]:
        """The order book as it stood at a moment."""
        now, found = self.clock.now(), []
        lagging = at < self.clock.true
        for order in self.account.orders.values():
            rows = order.history
            count = sum(1 for row in rows if row.at <= at) if lagging else len(rows)
            if not count:
                continue
            known = self._rows.get((order.id, count))
            if known is None:
                known = self._rows[order.id, count] = self.update(order, rows[count - 1], "book")
            found.append(known if not order.live else msgspec.structs.replace(known, at=now))
        return tuple(found)

    def trades(self, at: datetime) -> tuple[Trade, ...]:
        done = self.account.trades
        for trade in done[len(self._trades) :]:
            self._trades.append(self.trade(trade))
        if at >= self.clock.true:
            return tuple(self._trades)
        return tuple(told for trade, told in zip(done, self._trades, strict=True) if trade.at <= at)

    def positions(self, at: datetime) -> tuple[BrokerPosition, ...]:
        net: dict[tuple[str, str], int] = {}
        if at >= self.clock.true:
            for (key, booked), position in self.account.positions.items():
                held = key, self.broker.product(booked)
                net[held] = net.get(held, 0) + position.quantity
        for trade in self.account.trades if at < self.clock.true else ():
            if trade.at <= at:
                sign, held = 1 if trade.side == "BUY" else -1, (trade.key, self.broker.product(trade.product))
                net[held] = net.get(held, 0) + sign * trade.quantity
        return tuple(
            BrokerPosition(self.instruments[key], product, quantity, self.market.price(key, at)) for (key, product), quantity in net.items()
        )

    def funds(self) -> Funds:
        funds = self.exchange.funds(self.broker.user)
        return Funds(funds.net, funds.debits)

    def net(self) -> dict[tuple[str, str], int]:
        """(instrument key, the broker's product) -> signed units, as they truly are."""
        found: dict[tuple[str, str], int] = {}
        for (key, booked), position in self.account.positions.items():
            held = key, self.broker.product(booked)
            found[held] = found.get(held, 0) + position.quantity
        return {held: quantity for held, quantity in found.items() if quantity}

    def fresh_fills(self) -> int:
        """How many orders have filled on since this was asked last: each costs a request where trades are asked for by order."""
        found = {order.id: order.filled for order in self.account.orders.values() if order.filled != self._counted.get(order.id, 0)}
        self._counted.update(found)
        return len(found)

    def update(self, order: SimOrder, row: HistoryRow, source: str) -> OrderUpdate:
        return OrderUpdate(
            at=self.clock.now(),
            source=source,
            broker_order_id=self.order_id(order),
            instrument=self.instruments[order.listing.key],
            side=Side(order.side),
            quantity=row.quantity,
            state=STATES[row.status],
            filled=row.filled,
            average_price=round(row.average_price, 4),
            tag=order.tag if self.broker.spec.echoes_tags else None,
            label=str(row.status),
            product=self.broker.product(order.product),
            order_type=TYPES.get(order.requested_type, OrderType.LIMIT),
            limit_price=row.price,
            trigger_price=row.trigger_price or None,
            reason=row.message or "",
            exchange_at=row.exchange_at.replace(microsecond=0) if row.exchange_at is not None and self.broker.shows_times else None,
        )

    def trade(self, trade: SimTrade) -> Trade:
        at = trade.at.replace(microsecond=0)
        return Trade(trade.id, trade.order_id, self.instruments[trade.key], Side(trade.side), trade.quantity, trade.price, at)

    # --- what a request does when it arrives --------------------------------------------------------------------------------------------

    def check(self, token: str) -> None:
        if token in self.dead:
            raise SessionExpired("Incorrect `api_key` or `access_token`.", code="TokenException")

    def place(self, order: Order) -> str:
        self.advance()
        now = self.clock.true
        params = OrderParams(
            order.instrument.key, str(order.side), order.quantity, str(order.order_type),
            self.broker.booked(order.product, self.market.listings[order.instrument.key]), order.limit_price,
            order.trigger_price or 0.0, tag=order.tag,
        )  # fmt: skip
        try:
            booked = self.exchange.place(self.broker.user, params, now)
        except OrderRefused as error:
            raise Rejected(str(error), code=str(error.why)) from None
        self.advance()
        return booked.id

    def _arriving(self, params: OrderParams) -> None:
        """An order is about to arrive: the desk and the market may have something against it."""
        now, user = self.clock.true, self.broker.user
        if self.plan.strike("rms_reject", now):
            self.exchange.force_reject("RMS: blocked by the simulation", user=user)
        if self.plan.strike("partial", now):
            lot = self.market.listings[params.key].lot
            self.exchange.force_partial(max(lot, params.quantity // 2 // lot * lot), user=user)

    def modify(self, order: Order, quantity: int, limit_price: float, trigger_price: float | None) -> str:
        user, number = self.broker.user, order.broker_order_id or ""
        return self._change(
            order,
            lambda: self.exchange.modify(
                user, number, self.clock.true, quantity=quantity, price=limit_price, trigger_price=trigger_price or None
            ),
        )

    def cancel(self, order: Order) -> str:
        return self._change(order, lambda: self.exchange.cancel(self.broker.user, order.broker_order_id or "", self.clock.true))

    def _change(self, order: Order, do: Callable[[], SimOrder]) -> str:
        self.advance()
        try:
            changed = do()
        except OrderRefused as error:
            raise Rejected(str(error), code=str(error.why)) from None
        self.advance()
        return changed.id

    def set_guard(self, guard: Guard) -> str:
        """A trigger that stands over the night; the day ends before one could fire."""
        number = f"T{len(self.guards) + 1}"
        self.guards[number] = msgspec.structs.replace(guard, id=number, label="active")
        return number

    def delete_guard(self, number: str) -> str:
        self.guards[number] = msgspec.structs.replace(self.guards[number], active=False, label="deleted")
        return number

    # --- what it tells by itself --------------------------------------------------------------------------------------------------------

    def told(self, change: Change) -> None:
        """The exchange did something to an order."""
        self.stirred = self.clock.true
        if change.order.tag and change.order.id not in self._known:
            self._known.add(change.order.id)
            self.placed(change.order)
        if change.trade is not None:
            self.traded(change.order, change.trade)
        plan, now = self.plan, self.clock.true
        if self.broker.polls_s:
            if not self._unseen:
                self.clock.after(self.chance.uniform(0.1, self.broker.polls_s), self._polled)
            self._unseen[change.order.id] = change.order
            return
        if change.row.status not in TOLD and change.trade is None:
            return
        if self.hear is None or plan.active("feed_mute", now) or plan.active("updates_lost", now):
            return
        delay = self.chance.uniform(0.01, 0.08)
        if (fault := plan.active("updates_late", now)) is not None:
            delay += fault.chance.choice((0.0, 2.0, 8.0, 20.0))
        update = self.update(change.order, change.row, "stream")
        if plan.strike("updates_unknown", now):
            update = msgspec.structs.replace(update, state=None, label="FROBNICATED")
        self._send(update, delay)
        if plan.active("updates_doubled", now) is not None:
            self._send(update, delay + self.chance.uniform(0, 3))
        if (fault := plan.active("updates_replayed", now)) is not None:
            self._send(self.update(change.order, fault.chance.choice(change.order.history), "stream"), delay + fault.chance.uniform(0, 5))

    def _polled(self) -> None:
        """Order states were asked for: what changed since the last time is told as it stands now, and nothing of what was between."""
        unseen, self._unseen = self._unseen, {}
        plan, now = self.plan, self.clock.true
        asked_in_vain = plan.active("updates_lost", now) or plan.outage(now) or plan.active("books_fail", now)
        if asked_in_vain and unseen:
            self._unseen = unseen
            self.clock.after(self.broker.polls_s, self._polled)
        elif self.hear is not None and not plan.active("feed_mute", now):
            for order in unseen.values():
                self._send(self.update(order, order.history[-1], "poll"), self.chance.uniform(*self.broker.way_s))

    def _send(self, update: OrderUpdate, delay: float) -> None:
        listener = self.hear

        def deliver() -> None:
            if self.hear is listener and listener is not None:
                listener(msgspec.structs.replace(update, at=self.clock.now()))

        self.clock.after(delay, deliver)

    # --- faults that happen here --------------------------------------------------------------------------------------------------------

    def _begin(self, fault: Fault) -> None:
        if fault.left is None and self.hear is not None:
            fault.struck += 1
        if self.struck is not None:
            self.struck()
        match fault.kind:
            case "token_dies":
                self.dead.add(self.token)
                self.token_died()
            case "foreign_entry":
                self._foreign(fault.key, fault.chance.choice(("BUY", "SELL")), self._size(fault.key, fault.chance), fault.chance)
            case "foreign_close":
                self._close(fault.chance)
            case "foreign_cancel":
                self._cancel_some(fault)
            case _:
                self._move(fault)

    def _move(self, fault: Fault) -> None:
        """What a fault does to the market."""
        match fault.kind.partition("_")[0]:
            case "cancel" | "modify":
                self.market.thin.update(KEYS)  # so that there is something to cancel and to change
            case "circuit":
                self.exchange.lock_circuit(fault.key, fault.chance.choice(("upper", "lower")))
            case "halt":
                self.exchange.halt(True)
            case "thin":
                self.market.thin.add(fault.key)
            case "gap":
                for key in KEYS:
                    self.market.gaps[key].append((self.clock.true, 1 + fault.chance.uniform(-0.02, 0.02)))

    def _end(self, fault: Fault) -> None:
        if fault.kind.startswith(("cancel_", "modify_")):
            self.market.thin.clear()
        match fault.kind:
            case "token_dies":
                self.another_token()
            case "circuit":
                self.exchange.lock_circuit(fault.key, None)
            case "halt":
                self.exchange.halt(False)
            case "thin":
                self.market.thin.discard(fault.key)
            case "partial":
                self.exchange.release_partials()

    def another_token(self) -> None:
        """Somebody has logged in."""
        self.token = f"token-{len(self.dead) + 1}"
        self.logged_in()

    token_died: Callable[[], None] = staticmethod(lambda: None)
    logged_in: Callable[[], None] = staticmethod(lambda: None)

    def _size(self, key: str, chance: random.Random) -> int:
        return self.market.listings[key].lot * chance.choice((1, 2, 5))

    def _close(self, chance: random.Random) -> None:
        """Somebody else closes what we hold intraday, and more at times."""
        listings, positions = self.market.listings, self.account.positions.items()
        held = [(key, one.quantity) for (key, booked), one in positions if one.quantity and booked == self.broker.intraday(listings[key])]
        if held:
            key, quantity = chance.choice(held)
            part = chance.choice((abs(quantity), abs(quantity) + self._size(key, chance)))
            self._foreign(key, "SELL" if quantity > 0 else "BUY", part, chance)

    def _foreign(self, key: str, side: str, quantity: int, chance: random.Random) -> None:
        self.advance()
        last = self.market.price(key, self.clock.true)
        price = round(last * (1.01 if side == "BUY" else 0.99), 0)
        try:
            product = self.broker.intraday(self.market.listings[key])
            self.exchange.place_foreign(self.broker.user, OrderParams(key, side, quantity, "LIMIT", product, price), self.clock.true)
        except OrderRefused:
            return  # the market is closed for it: nobody trades
        self.advance()

    def _cancel_some(self, fault: Fault) -> None:
        """Somebody else cancels what works, now and every two seconds until one was struck."""
        if not fault.active(self.clock.true):
            return
        for order in list(self.account.orders.values()):
            if order.live and order.tag and self.plan.active("foreign_cancel", self.clock.true):
                try:
                    self.exchange.cancel(self.broker.user, order.id, self.clock.true)
                except OrderRefused:
                    continue
                self.plan.strike("foreign_cancel", self.clock.true)
        self.advance()
        self.clock.after(2.0, lambda: self._cancel_some(fault))


def refused(error: Exception) -> BrokerError:
    """What the client is told when the broker said no."""
    return error if isinstance(error, BrokerError) else Rejected(str(error))


def is_entry(order: Order) -> bool:
    return order.purpose is Purpose.ENTRY
