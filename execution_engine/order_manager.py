"""The life of our orders: an intent is on disk before it leaves, three outcomes come back, and only evidence closes what is unknown.

Rules kept here (promises P1, P2 and P11 of docs/reliability.md):
1. `submit` gives the tag, writes the order as SENDING and commits (synchronous) before the executor may send it; meanwhile the executor
   gets the request ready, and forgets it if the commit fails. An exit then leaves all the same, its intent in the emergency journal.
2. Nothing here ever submits an order again. A new try is a new decision with a new tag, made elsewhere on evidence.
3. A reply is ACK, REJECT or UNKNOWN. ACK means received. Fills come from order rows and trade rows alone.
4. Every row, whatever its source, goes through order_state.merge; what is illegal is journalled, alerted and freezes its instrument.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from typing import Any

import msgspec

from core.errors import StoreError
from core.events import Action, OrderUpdate, Outcome, Reply, Trade
from core.ports import Emergency, Executor, Store
from core.types import Approved, Fill, Horizon, Instrument, Order, OrderRequest, OrderState, Purpose, Validity
from execution_engine.order_state import IN_FLIGHT, TERMINAL, Merged, filled_to, merge, move, replied
from execution_engine.portfolio import Portfolio

MAX_MODIFICATIONS = 20  # of the 25 that brokers allow for each order (Spec.modifications_per_order); the rest is a person's
Alert = Callable[[str, str, str], None]  # level, title, text


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one piece of evidence did to one of our orders."""

    order: Order
    before: OrderState
    fills: tuple[Fill, ...] = ()

    @property
    def ended(self) -> bool:
        return self.order.state in TERMINAL and self.before not in TERMINAL


_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = tuple(left + right for left in _ALPHABET for right in _ALPHABET)


class Tags:
    """Sixteen characters A-Z0-9, never given twice: four for the ledger, three for the day, nine counted within the ledger.

    Each process counts in a block of its own: an exit may leave while the ledger cannot be written, and if the process dies then, the
    stored count does not know its tag.
    """

    _BLOCK = 36**5

    _EPOCH = date(2020, 1, 1)

    def __init__(self, store: Store) -> None:
        self._store = store
        ledger = store.get("tags", "ledger")
        if ledger is None:
            ledger = "".join(secrets.choice(_ALPHABET) for _ in range(4))
            store.put("tags", "ledger", ledger)
        self._ledger: str = ledger
        self._day: date | None = None
        self._prefix = ""
        self._count: int = ((store.get("tags", "count") or 0) // self._BLOCK + 1) * self._BLOCK
        store.put("tags", "count", self._count)

    def next(self, day: date) -> str:
        """A fresh tag; its count joins the same transaction as the intent, so that a lost intent never frees a used tag."""
        self._count += 1
        self._store.put("tags", "count", self._count)
        if day != self._day:
            self._day, self._prefix = day, self._ledger + self._text((day - self._EPOCH).days % 36**3, 3)  # recorded days may lie before
        return self._prefix + self._text(self._count, 9)

    def is_niyams(self, tag: str | None, day: date) -> bool:
        """Whether such a tag is given by a Niyam on that day, by this one or by another: its shape says so, all but surely."""
        if tag is None or len(tag) != 16 or set(tag) - set(_ALPHABET):
            return False
        return tag[4:7] == self._text((day - self._EPOCH).days % 36**3, 3) and self._BLOCK <= int(tag[7:], 36) < 36 * 36 * self._BLOCK

    @property
    def count(self) -> int:
        """How many were given in this ledger, blocks that were left half used included."""
        return self._count

    def go_on_from(self, count: int) -> None:
        """Give the tags that were given after `count` of them: a recorded day is played again."""
        self._count = count
        self._store.put("tags", "count", count)

    def _text(self, number: int, width: int) -> str:
        digits = ""
        while number:
            number, pair = divmod(number, 36 * 36)
            digits = _PAIRS[pair] + digits
        return digits.rjust(width, "0")[-width:]


class OrderDesk:
    """All orders of one account, by our id, by tag and by the broker's id. Lives on the engine thread."""

    def __init__(
        self,
        account: str,
        store: Store,
        executor: Executor,
        portfolio: Portfolio,
        product_of: Callable[[OrderRequest], str],
        alert: Alert,
        emergency: Emergency | None = None,
    ) -> None:
        self._account = account
        self._store = store
        self._executor = executor
        self._portfolio = portfolio
        self._product_of = product_of
        self._alert = alert
        self._emergency = emergency
        self.tags = Tags(store)
        self._orders: dict[str, Order] = {}
        self._by_broker_id: dict[str, str] = {}
        self.alive: dict[str, Order] = {}  # what is not terminal, by our id; for others to read
        self._ahead: set[str] = set()  # orders that had more filled than booked when last looked at
        self.sent: list[datetime] = []  # every place, modify and cancel of today, for the rate caps
        self.orders_today = 0
        self.frozen: dict[str, str] = {}  # instrument key -> the anomaly that froze entries in it
        self._answered: dict[str, datetime] = {}  # when the last call about an order was answered
        self.lapsed: dict[tuple[str, str], str] = {}  # (instrument key, product) -> an order of an earlier day whose end nobody saw
        self._told: set[tuple[str, str]] = set()  # (order, oddity) of today that a person was told: each read brings its row again

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def get(self, order_id: str) -> Order | None:
        return self._orders.get(order_id)

    def all(self) -> Sequence[Order]:
        return tuple(self._orders.values())

    def live(self) -> Sequence[Order]:
        return tuple(self.alive.values())

    def working(self, strategy: str, name: str) -> list[Order]:
        """Live orders of one key that move its position (protective orders are not among them)."""
        if not self.alive:
            return []
        return [o for o in self.alive.values() if o.strategy == strategy and o.name == name and o.purpose is not Purpose.PROTECT]

    def horizon(self, strategy: str, name: str, instrument: Instrument) -> Horizon | None:
        """That of what a key holds, else of what works in it; None: it is flat. What is held leaves in the product it came in, so that a
        horizon changed in the configuration counts once the key is flat."""
        held = self._portfolio.horizon(strategy, instrument)
        if held is None and (working := self.working(strategy, name)):
            return working[0].horizon
        return held

    def unknown(self) -> list[Order]:
        return [order for order in self.alive.values() if order.state in (OrderState.UNKNOWN, OrderState.SENDING)]

    def calls_since(self, since: datetime) -> int:
        """How many order calls (place, modify, cancel) left at or after `since`."""
        count = 0
        for at in reversed(self.sent):
            if at < since:
                break
            count += 1
        return count

    # --- starting and rolling over ------------------------------------------------------------------------------------------------

    def thaw(self) -> list[str]:
        """A person has looked: entries in what an anomaly froze may go again; its instruments' keys."""
        thawed = sorted(self.frozen)
        self.frozen.clear()
        if thawed:
            self._store.put("engine", "frozen", None)
        return thawed

    def restore(self, orders: Iterable[Order]) -> None:
        """Take up the ledger's orders at start, and what is frozen. One that was SENDING when the process died may have left: it is
        UNKNOWN now."""
        self.frozen.update(self._store.get("engine", "frozen") or {})
        for order in orders:
            if order.state is OrderState.SENDING:
                order = move(order, OrderState.UNKNOWN, order.updated_at, reason="the process ended while this order was being sent")
                self._store.save_order(order)
            elif order.state is OrderState.NEW:
                order = move(order, OrderState.CANCELLED, order.updated_at, reason="the process ended before this order was sent")
                self._store.save_order(order)
            self._keep(order)

    def open_day(self, today: Iterable[Order], day: date | None = None) -> None:
        """Forget yesterday's closed orders and count today's. What is older than `day` and still counts as alive ended with its session."""
        self.lapsed.clear()
        for order in self.live() if day is not None else ():
            if day is not None and order.created_at.date() < day and order.validity is Validity.DAY:
                if order.state is OrderState.SENDING:
                    order = move(order, OrderState.UNKNOWN, order.updated_at)
                over = move(
                    order,
                    OrderState.EXPIRED,
                    order.updated_at,
                    reason=f"a DAY order of {order.created_at:%Y-%m-%d}: it ended with its session",
                )
                self._changed(order, over, (), "the calendar")
                self.lapsed[order.instrument.key, order.product] = order.tag
        self._orders = {order.id: order for order in self._orders.values() if order.id in self.alive}
        for order in today:
            self._orders.setdefault(order.id, order)
        self._by_broker_id = {o.broker_order_id: o.id for o in self._orders.values() if o.broker_order_id}
        self._ahead = {order.id for order in self._orders.values() if order.filled}
        self.orders_today = len(self._orders)
        self._answered = {order_id: at for order_id, at in self._answered.items() if order_id in self._orders}
        self._told.clear()
        self.sent.clear()

    # --- deciding -------------------------------------------------------------------------------------------------------------------

    def submit(self, approved: Approved, now: datetime) -> Order:
        """Make the order, put its intent on disk, then hand it to the executor."""
        request = approved.request
        tag = self.tags.next(now.date())
        order = Order(
            id=tag,
            tag=tag,
            account=self._account,
            strategy=request.strategy,
            name=request.name,
            instrument=request.instrument,
            side=request.side,
            quantity=request.quantity,
            order_type=request.order_type,
            horizon=request.horizon,
            purpose=request.purpose,
            created_at=now,
            updated_at=now,
            limit_price=request.limit_price,
            trigger_price=request.trigger_price,
            validity=request.validity,
            product=self._product_of(request),
            state=OrderState.SENDING,
            reason=request.why,
        )
        self._keep(order)
        self._store.save_order(order)
        self._store.journal(now, "intent", partial(_facts, order))
        try:
            self._commit(partial(self._executor.prepare, order))  # P1: on disk before it leaves; its request is built meanwhile
        except StoreError:
            self._executor.forget(order)  # what was prepared leans on an intent that is not on disk
            if request.purpose is Purpose.ENTRY:  # an exit goes on without the ledger: being flat outweighs being written down
                never = move(order, OrderState.CANCELLED, now, reason="never sent: the ledger could not be written")
                self._changed(order, never, (), "the ledger")  # joins what the next commit writes, after the intent
                raise
            self._keep_aside(order)
        except BaseException:
            self._executor.forget(order)
            raise
        self.sent.append(now)
        self.orders_today += 1
        self._executor.place(order)
        return order

    def _keep_aside(self, order: Order) -> None:
        """So that the next process knows an exit as ours although the ledger never heard of it."""
        if self._emergency is None:
            return
        try:
            self._emergency.keep(order)
        except StoreError as error:
            text = f"{order.side} {order.quantity} {order.instrument.key} ({order.tag}) leaves all the same: {error}"
            self._alert("page", "An exit is written nowhere", text)

    def cancel(self, order: Order, now: datetime, why: str) -> None:
        """Ask for a cancellation; the order is cancelled only when a row says so."""
        if order.state in (OrderState.PENDING_CANCEL, OrderState.SENDING, OrderState.UNKNOWN) or order.state in TERMINAL:
            return
        self._command(move(order, OrderState.PENDING_CANCEL, now), "cancel", now, why)
        self._executor.cancel(order)

    def reprice(self, order: Order, limit_price: float, now: datetime, why: str) -> bool:
        """Move a working order's limit; False if it cannot be modified (any more) and must be cancelled instead."""
        return order.state is OrderState.WORKING and self.modify(
            order, quantity=order.quantity, limit_price=limit_price, trigger_price=order.trigger_price, now=now, why=why
        )

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None, now: datetime, why: str) -> bool:
        """Ask for other terms of an order that rests or is armed (`quantity`: the new total); False if it cannot be modified (any more)."""
        if order.state not in (OrderState.WORKING, OrderState.TRIGGER_PENDING) or order.modifications >= MAX_MODIFICATIONS:
            return False
        changed = move(order, OrderState.PENDING_MODIFY, now)
        changed = msgspec.structs.replace(changed, modifications=order.modifications + 1)
        moved = f"{order.limit_price} -> {limit_price}"
        if quantity != order.quantity:
            moved += f", {order.quantity} -> {quantity} units"
        if trigger_price != order.trigger_price:
            moved += f", trigger {order.trigger_price} -> {trigger_price}"
        self._command(changed, "modify", now, f"{why}: {moved}")
        self._executor.modify(order, quantity=quantity, limit_price=limit_price, trigger_price=trigger_price)
        return True

    # --- hearing --------------------------------------------------------------------------------------------------------------------

    def on_reply(self, reply: Reply) -> Change | None:
        """How one of our calls ended. Late replies never move an order backwards."""
        order = self._orders.get(reply.order_id)
        if order is None:
            self._alert("warn", "Reply for an unknown order", f"{reply.action} {reply.order_id}: {reply.outcome} {reply.reason}")
            return None
        self._answered[order.id] = reply.at
        if reply.action is Action.PLACE and reply.outcome is Outcome.UNKNOWN and order.state in IN_FLIGHT:
            text = f"{order.side} {order.quantity} {order.instrument.key} ({order.tag}): {reply.reason}; looking for evidence"
            self._alert("warn", "Order of unknown fate", text)
        return self._take(order, replied(order, reply), (), f"reply to {reply.action}: {reply.outcome}")

    def on_update(self, update: OrderUpdate, asked_at: datetime | None = None) -> Change | None:
        """A row about an order; None when it is not ours (see `owner`) or says nothing new.

        `asked_at` is when the read that brought the row left (None: pushed to us). A row asked for after our last command on the order
        was answered settles a pending modify or cancel.
        """
        order = self.owner(update.broker_order_id, update.tag)
        return self.on_row(order, update, asked_at) if order is not None else None

    def on_row(self, order: Order, update: OrderUpdate, asked_at: datetime | None = None) -> Change | None:
        """The same for a row that is known to be about this order of ours."""
        if update.state is None and self._is_news(order, f"label {update.label}"):
            self._alert("warn", "Order state not in the table", f"{order.tag} {order.instrument.key}: the broker says {update.label!r}")
        answered = self._answered.get(order.id)
        fresh = asked_at is not None and (answered is None or asked_at > answered)
        return self._take(order, merge(order, update, fresh=fresh), update.trades, f"{update.source}: {update.label or update.state}")

    def on_trades(self, trades: Iterable[Trade]) -> list[Change]:
        """Rows of the trade book; those of foreign orders are left to reconciliation."""
        changes = []
        for trade in trades:
            order = self.owner(trade.broker_order_id, None)
            if order is not None:
                change = self._take(order, Merged(order), (trade,), "trade book")
                if change is not None:
                    changes.append(change)
        return changes

    def unbooked(self) -> list[Order]:
        """Orders of which the broker filled more than our position holds yet: nothing may be decided on their keys until it does."""
        if not self._ahead:
            return []
        ahead = [order for order in self._orders.values() if order.id in self._ahead and order.filled > self._portfolio.booked(order.id)]
        self._ahead = {order.id for order in ahead}
        return ahead

    def claim(self, order: Order, broker_order_id: str) -> None:
        """This row of nobody's is that order of unknown fate: told by what it is, where the broker gives no tag back."""
        self._by_broker_id[broker_order_id] = order.id

    def not_found(self, order: Order, now: datetime, evidence: str) -> Change:
        """Close an UNKNOWN order by the absence rule; `evidence` says what was read. Never sent again by itself."""
        return self._changed(order, move(order, OrderState.NOT_FOUND, now, reason=evidence), (), "absence rule")

    def owner(self, broker_order_id: str, tag: str | None) -> Order | None:
        """Which of our orders a broker row is about: by the broker's id, else by the tag that only we give."""
        order_id = self._by_broker_id.get(broker_order_id)
        if order_id is None and tag in self._orders:
            order_id = tag
        return self._orders[order_id] if order_id is not None else None

    # --- inside ---------------------------------------------------------------------------------------------------------------------

    def _take(self, before: Order, merged: Merged, trades: Iterable[Trade], source: str) -> Change | None:
        """Keep what one piece of evidence made of an order, and book the trades that came with it."""
        order = merged.order
        if merged.anomaly and self._is_news(order, merged.anomaly):
            self.frozen[order.instrument.key] = merged.anomaly
            self._store.put("engine", "frozen", self.frozen)
            text = f"{order.tag} {order.instrument.key}: {merged.anomaly}; entries in it are frozen until `resume --confirm`"
            self._alert("page", "Impossible order update", text)
        fills = [fill for trade in trades if (fill := self._portfolio.book(order, trade)) is not None] if trades else []
        booked = self._portfolio.booked(order.id)
        if booked > order.filled:  # trades ran ahead of their order row
            order = filled_to(order, booked, 0.0, order.updated_at).order
        elif booked < order.filled and order.average_price > 0:  # the row ran ahead of its trades: its averages price what is missing
            at = order.evidence.exchange_at if order.evidence is not None else None
            told = self._portfolio.book_total(order, order.filled, order.average_price, at or order.updated_at)
            fills += [told] if told is not None else []
        for fill in fills:
            self._store.save_fill(fill)
        if not fills and (order is before or order == before):
            return None
        return self._changed(before, order, tuple(fills), source)

    def _is_news(self, order: Order, oddity: str) -> bool:
        """Whether nobody was told yet. What was told, and thawed by a person since, is not frozen again by the same row."""
        if (order.id, oddity) in self._told:
            return False
        self._told.add((order.id, oddity))
        return True

    def _command(self, order: Order, kind: str, now: datetime, why: str) -> None:
        self._keep(order)
        self._store.save_order(order)
        self._store.journal(now, kind, {"order": order.id, "instrument": order.instrument.key, "why": why})
        with suppress(StoreError):  # the order itself is on disk, the broker's book knows the rest; the batch's own commit tells of it
            self._commit()
        self.sent.append(now)

    def _commit(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Make the transaction durable in the middle of a batch; a fill that is in it takes the position that it made with it."""
        for position in self._portfolio.changed():
            self._store.save_position(position)
        self._store.commit(meanwhile)

    def _changed(self, before: Order, order: Order, fills: tuple[Fill, ...], source: str) -> Change:
        self._keep(order)
        self._store.save_order(order)
        self._store.journal(order.updated_at, "order", partial(_facts, order, source, before.state))
        for fill in fills:
            self._store.journal(fill.at, "fill", partial(_fill_facts, fill))
        return Change(order, before.state, fills)

    def _keep(self, order: Order) -> None:
        self._orders[order.id] = order
        if order.broker_order_id:
            self._by_broker_id[order.broker_order_id] = order.id
        if order.state not in TERMINAL:
            self.alive[order.id] = order
        else:
            self.alive.pop(order.id, None)
        if order.filled and order.filled > self._portfolio.booked(order.id):
            self._ahead.add(order.id)


def _fill_facts(fill: Fill) -> dict[str, object]:
    return {
        "order": fill.order_id,
        "instrument": fill.instrument.key,
        "side": str(fill.side),
        "quantity": fill.quantity,
        "price": fill.price,
        "trade": fill.id,
    }


def _facts(order: Order, source: str = "", before: OrderState | None = None) -> dict[str, object]:
    """What the journal says of an order; `before` is the state that the evidence from `source` found it in."""
    change = {} if before is None else {"source": source, "before": str(before), "reason": order.reason}
    return {
        "order": order.id,
        "strategy": order.strategy,
        "instrument": order.instrument.key,
        "side": str(order.side),
        "quantity": order.quantity,
        "limit_price": order.limit_price,
        "purpose": str(order.purpose),
        "state": str(order.state),
        "filled": order.filled,
        "average_price": order.average_price,
        "broker_order_id": order.broker_order_id,
        **change,
    }


class OrderManager:
    """One order for bare scripts: OrderManager(broker="zerodha").place_order(symbol="NIFTY_FUT", direction="BUY", lots=1)."""

    def __init__(self, broker: str = "zerodha") -> None:
        self._broker = broker

    def place_order(
        self,
        symbol: str,
        direction: str,
        quantity: int | None = None,
        price: float | None = None,
        order_type: str | None = None,
        product_type: str = "MIS",
        *,
        lots: int | None = None,
        live: bool = False,
    ) -> dict[str, Any]:
        """Place it and wait a few seconds; returns success, status, order_id, execution_price, filled, error.

        `status` is EXECUTED (all filled), PENDING, REJECTED or UNKNOWN (look before sending another). `quantity` is units, a multiple of
        the lot; or give `lots`. `price` is rupees; without one the order is MARKET, sent as a limit a little beyond the market. A daemon
        that runs takes it; else it goes to the paper account, and to the live one only with live=True.
        """
        from runtime import manual_order

        asked = {"broker": self._broker, "symbol": symbol, "direction": direction, "quantity": quantity, "lots": lots, "price": price}
        return manual_order.place({**asked, "order_type": order_type, "product_type": product_type, "live": live})
