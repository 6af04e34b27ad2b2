"""What the broker shows against what we believe: rows are merged, the unknown is resolved by evidence, differences freeze and alert.

Rules (promises P2, P3 and P6 of docs/reliability.md):
1. Only a complete read counts, and it counts for nothing newer than the moment it was asked for.
2. An order of unknown fate is found by its tag; where the broker gives none back, by being the one row of nobody's that is just like
   it (instrument, side, quantity, product, prices) and was not there before it. Two such rows: a person must look. When what is not
   found never arrived: absence.py.
3. Orders and trades of others are EXTERNAL: shown, counted in exposure, never traded. What opposes ours closes ours first.
4. Positions are compared when nothing of ours is in flight. The same difference twice in a row freezes the instrument and alerts;
   equality thaws it. Nothing is ever booked to make the numbers fit.
5. BLIND: five seconds after the broker took an order, or told its end, its book must show that. Until it does the books may stand still:
   entries are off, and exits go by `seen_twice`.
6. An order with a tag as we give it that is none of our ledger's is another Niyam's: entries are off until a person has looked.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta

from core.events import Books, BrokerPosition, OrderUpdate, Trade
from core.ports import Store
from core.types import Horizon, Instrument, Order, OrderState, Side
from execution_engine.absence import Absence
from execution_engine.delivered import Delivered
from execution_engine.offsets import Offsets
from execution_engine.order_manager import Alert, Change, OrderDesk
from execution_engine.order_state import IN_FLIGHT, TERMINAL
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.world import World

ACKED_WITHIN = timedelta(seconds=5)  # R11: an acknowledged order must be in the book by then
FAILED_READS = 3
LOOKS = 24  # for an order of unknown fate in close order: some ten minutes
CHECKED = timedelta(seconds=10)  # how old the two reads may be by which an exit goes while the books are in doubt
FRESH = timedelta(seconds=2)  # R14: how old the read may be by which an exit goes after the broker's cut-off
FOREIGN = "foreign_orders"
"""The store's space for orders of others at a broker without tags: their ids and their day."""
OTHER = "instance"
"""The cause in `world.blinded` of rule 6; `resume --confirm` and `acknowledge` take it away."""
RECOVERING = "recovery: the broker's books have not been read yet"


class Reconciliation:
    """Compares; called by the engine with each Books event."""

    def __init__(
        self,
        desk: OrderDesk,
        portfolio: Portfolio,
        store: Store,
        world: World,
        alert: Alert,
        horizon_of: Callable[[str], Horizon],
        closed_outside: Callable[[str, Instrument], None],
    ) -> None:
        self._desk = desk
        self._portfolio = portfolio
        self._store = store
        self._world = world
        self._alert = alert
        self._horizon_of = horizon_of
        self._closed_outside = closed_outside
        self.absence = Absence(desk, portfolio, world, alert, self.was_there)
        self._differences: dict[tuple[str, str], int] = {}
        self._differing: dict[tuple[str, str], Instrument] = {}  # of what differs, also when neither side shows a row of it any more
        self._shortfalls: dict[tuple[str, str], int] = {}
        self._foreign_orders: dict[str, OrderUpdate] = {}
        self._foreign_trades: set[tuple[str, date, Side, str]] = set()
        self._ambiguous: set[str] = set()
        self.offsets = Offsets(portfolio, store, world, alert)
        self.delivered = Delivered(portfolio, store, horizon_of)
        self._began = world.now
        self._told_of_another = False
        self._failed = 0
        self._looks = 0
        self._baseline = False
        self._strange: dict[tuple[str, str], tuple[datetime, int]] = {}  # shown at the first read beside a live order: since when, how much
        self._theirs: set[str] = set()  # orders that an earlier process knew as somebody else's
        self._read_at: datetime | None = None  # when the last complete read of positions was asked for
        self._seen: deque[tuple[datetime, Mapping[tuple[str, str], int]]] = deque(maxlen=2)  # the last reads of positions, as shown

    def shortfall(self, strategy: str, instrument: Instrument) -> int:
        """Our believed net less the broker's in the product that a strategy holds, as last compared (0 when they agreed: fills since then
        move both alike), and what of ours is offset elsewhere. Another product's surplus makes up for nothing: an exit would open it."""
        offset = self.offsets.of(instrument)
        if not self._shortfalls:
            return offset
        products = self._portfolio.products(strategy, instrument)
        return offset + sum(self._shortfalls.get((instrument.key, product), 0) for product in products)

    @property
    def recovering(self) -> bool:
        """Whether the first read of this process is still to come: exits wait for it, but not for books that cannot be read."""
        return "recovery" in self._world.blinded and self._failed < FAILED_READS

    @property
    def differs(self) -> bool:
        """Whether the last read of positions showed others than ours."""
        return bool(self._differing)

    @property
    def readable(self) -> bool:
        """Whether the books could be read lately."""
        return self._failed < FAILED_READS

    def seen_twice(self, strategy: str, instrument: Instrument, now: datetime) -> int | None:
        """How many units of what a strategy holds the last two reads of positions bear out, both of them; None: they are too old."""
        if len(self._seen) < 2 or now - self._seen[0][0] > CHECKED:
            return None
        return self._shown(strategy, instrument, self._seen)

    def seen_last(self, strategy: str, instrument: Instrument) -> int:
        """How many units of what a strategy holds the last read of positions bears out, however old."""
        return self._shown(strategy, instrument, [self._seen[-1]]) if self._seen else 0

    def _shown(self, strategy: str, instrument: Instrument, reads: Iterable[tuple[datetime, Mapping[tuple[str, str], int]]]) -> int:
        ours = [one for one in self._portfolio.positions() if (one.strategy, one.instrument.key) == (strategy, instrument.key)]
        shown = 0
        for one in ours:
            sign = 1 if one.quantity > 0 else -1
            shown += max(0, min(sign * row.get((instrument.key, one.product), 0) for _, row in reads))
        return shown

    def fresh(self, now: datetime) -> bool:
        """Whether the broker's positions were read a moment ago."""
        return self._read_at is not None and now - self._read_at <= FRESH

    def open_day(self) -> None:
        """What the account holds beside ours is taken as it is at the day's first read (it was delivered, or expired, overnight)."""
        self._baseline = False
        self._began = self._world.now
        self.offsets.open_day(self._began.date())
        self.delivered.open_day(self._began.date())
        self._told_of_another = False
        if (why := self._store.get("engine", OTHER)) is not None:
            self._world.blinded[OTHER] = why  # nobody has looked yet
        self._foreign_orders.clear()
        self._foreign_trades.clear()
        self._strange.clear()
        self._theirs = self._noted(self._began.date())

    def looked_at(self) -> None:
        """A person has looked at what stops entries until then, and at what is offset elsewhere."""
        if self._world.blinded.pop(OTHER, None) is not None:
            self._store.put("engine", OTHER, None)
        self.offsets.forget()

    def next_look_s(self) -> float | None:
        """In how many seconds to look for evidence again: 2, 4, 8, 16, then every 30 for a fate that is unknown, and every 90 after ten
        minutes: ICICI counts the calls of a day, and the clock reads beside it; None: on the clock."""
        if not self._desk.unknown() and (not self._differing or self._looks >= 4):
            return None
        self._looks += 1
        return min(30.0, 2.0 ** min(self._looks, 5)) if self._looks <= LOOKS else 90.0

    def foreign(self, update: OrderUpdate) -> None:
        """An order that is none of ours: noted once in the journal; its trades move positions, not its rows.

        Without tags it may be one of ours whose call has not come back: then it is left until that is known.
        """
        known = self._foreign_orders.get(update.broker_order_id)
        new = known is None and update.broker_order_id not in self._theirs
        if new and not self._world.tags_echoed and any(_alike(order, update) for order in self._desk.unknown()):
            return
        self._foreign_orders[update.broker_order_id] = update
        if known is None:
            if not self._world.tags_echoed:  # the next process must not take it for an order of ours
                self._store.put(FOREIGN, update.broker_order_id, self._began.date().isoformat())
            facts = {"broker_order_id": update.broker_order_id, "instrument": update.instrument.key, "side": str(update.side),
                     "quantity": update.quantity, "label": update.label}  # fmt: skip
            self._store.journal(update.at, "foreign_order", facts)
            if self._desk.tags.is_niyams(update.tag, update.at.date()):
                self._another(update)
        for trade in update.trades:
            self._book_foreign(trade, update.product)

    def take(self, books: Books) -> list[Change]:
        """Merge one read; returns what it changed about our own orders."""
        if books.error:
            self._failed += 1
            if self._failed == FAILED_READS:
                reason = f"{FAILED_READS} reads of the broker's books failed, last {books.error}: {books.reason}"
                self._world.blinded["reads"] = reason
                self._alert("warn", "Entries are off", f"{reason}; they resume with the next complete read")
            return []
        books = self.delivered.beside(books)
        self._failed = 0
        self._world.blinded.pop("reads", None)
        if books.funds is not None:
            self._world.broker_funds = books.funds.available
        changes: list[Change] = []
        self._claim(books)
        for row in books.orders:
            if self._desk.owner(row.broker_order_id, row.tag) is None:
                self.foreign(row)
            else:
                change = self._desk.on_update(row, books.asked_at)
                if change is not None:
                    changes.append(change)
        trades = [trade for trade in books.trades if trade.at.date() == books.at.date()]  # some brokers list yesterday's until the morning
        changes += self._desk.on_trades(trades)
        for trade in trades:
            if self._desk.owner(trade.broker_order_id, None) is None:
                order = self._foreign_orders.get(trade.broker_order_id)
                if order is not None:  # without a row it may be ours, younger than the order book read before it: the next read tells
                    self._book_foreign(trade, order.product)
        self._acknowledged(books)
        changes += self.absence.look(books)
        if books.positions is not None:
            self._seen.append((books.asked_at, {(row.instrument.key, row.product): row.quantity for row in books.positions}))
            self._positions(books, books.positions)
            self._read_at = books.asked_at
            self._world.blinded.pop("recovery", None)
        if not self._desk.unknown() and not self._differing:
            self._looks = 0
        return changes

    # --- orders ---------------------------------------------------------------------------------------------------------------------

    def _claim(self, books: Books) -> None:
        """Rule 2 without tags."""
        for order in self._desk.unknown() if not self._world.tags_echoed else ():
            if order.state is not OrderState.UNKNOWN or order.updated_at >= books.asked_at or order.broker_order_id:
                continue
            rows = [
                row
                for row in books.orders
                if _alike(order, row) and not self.was_there(row.broker_order_id) and self._desk.owner(row.broker_order_id, row.tag) is None
            ]
            if len(rows) == 1:
                facts = {"order": order.id, "broker_order_id": rows[0].broker_order_id, "instrument": order.instrument.key}
                self._store.journal(books.at, "claimed", facts)
                self._desk.claim(order, rows[0].broker_order_id)
            elif rows and order.id not in self._ambiguous:
                self._ambiguous.add(order.id)
                text = f"{order.tag} {order.instrument.key}: {len(rows)} orders at the broker are just like it; its key waits for a person"
                self._alert("page", "Order of unknown fate is not to be told from others", text)

    def was_there(self, broker_order_id: str) -> bool:
        """Whether this is somebody else's order, seen when nothing of ours that could have been it was of unknown fate (without tags)."""
        return broker_order_id in self._foreign_orders or broker_order_id in self._theirs

    def _noted(self, day: date) -> set[str]:
        """What an earlier process of this day noted as somebody else's; what is older is forgotten."""
        noted = self._store.items(FOREIGN)
        for number in (number for number, at in noted.items() if at != day.isoformat()):
            self._store.put(FOREIGN, number, None)
        return {number for number, at in noted.items() if at == day.isoformat()}

    def _acknowledged(self, books: Books) -> None:
        """Rule 5."""
        rows = {row.broker_order_id: row for row in books.orders}
        doubt = next((why for order in self._desk.all() if (why := _doubt(order, rows, books.asked_at))), "")
        if not doubt:
            self._world.blinded.pop("books", None)
        elif "books" not in self._world.blinded:
            self._world.blinded["books"] = f"books: {doubt}"
            self._store.journal(books.at, "blind", {"why": doubt})
            text = f"{doubt}; they resume when the book shows it, and exits go by two reads of positions meanwhile"
            self._alert("page", "Entries are off", text)

    def _another(self, update: OrderUpdate) -> None:
        """Rule 6: two of us on one account know nothing of each other's limits, stops and square-offs."""
        what = f"{update.side} {update.quantity} {update.instrument.key} ({update.broker_order_id}, tag {update.tag})"
        if update.exchange_at is not None and update.exchange_at < self._began:
            text = (
                f"{what} is in today's book, and not in this ledger: it was sent before this one began, by another state folder or machine"
            )
            if not self._told_of_another:
                self._alert("warn", "Another Niyam has traded this account today", text)
            self._told_of_another = True
        elif OTHER not in self._world.blinded:
            self._world.blinded[OTHER] = f"another Niyam trades this account: {what}; stop one of them, then `main.py resume --confirm`"
            self._store.put("engine", OTHER, self._world.blinded[OTHER])
            self._alert(
                "page", "Another Niyam trades this account", f"{what} is not ours; entries are off here. {self._world.blinded[OTHER]}"
            )

    # --- positions --------------------------------------------------------------------------------------------------------------------

    def _book_foreign(self, trade: Trade, product: str) -> None:
        known = (trade.instrument.key, trade.at.date(), trade.side, trade.id)  # an exchange numbers each instrument's trades by itself
        if known in self._foreign_trades:
            return
        self._foreign_trades.add(known)
        for fill in self._portfolio.book_foreign(trade, product, self._horizon_of(product)):
            self._store.save_fill(fill)
            facts = {"instrument": fill.instrument.key, "side": str(fill.side), "quantity": fill.quantity, "strategy": fill.strategy}
            self._store.journal(fill.at, "foreign_fill", facts)
            if fill.strategy == EXTERNAL:
                self.offsets.see(fill, product)
            else:
                self._closed_outside(fill.strategy, fill.instrument)
                text = f"{fill.side} {fill.quantity} {fill.instrument.key} by somebody else closed what {fill.strategy} held"
                self._alert("page", "Closed from outside", text)

    def _positions(self, books: Books, rows: tuple[BrokerPosition, ...]) -> None:
        shown = {(row.instrument.key, row.product): row for row in rows}
        ours = {(held.instrument.key, held.product): held.instrument for held in self._portfolio.positions()}
        instruments = {key: row.instrument for key, row in shown.items()} | ours | self._differing
        for key, instrument in sorted(instruments.items()):
            if self._world.expired(instrument):
                continue  # the broker settles it when it does; expiry.py books ours
            row = shown.get(key)
            believed, real = self._portfolio.net(instrument, key[1]), row.quantity if row is not None else 0
            if believed == real:
                self._differences.pop(key, None)
                self._differing.pop(key, None)
                self._shortfalls.pop(key, None)
                self._strange.pop(key, None)
                differs = any(other == instrument.key for other, _ in self._differing)  # its other product
                if not differs and instrument.key in self._world.frozen_by_books:
                    del self._world.frozen_by_books[instrument.key]
                    self._store.journal(books.at, "thawed", {"instrument": instrument.key, "quantity": real})
            elif self._was_held_before(instrument, key):
                if self._may_be_ours(books, instrument, key, real):
                    self._differing[key] = instrument  # looked at again soon
                else:
                    self._adopt(books, row or BrokerPosition(instrument, key[1], 0, self._world.last_price(instrument) or 0.0))
            elif not self._in_flight(instrument, books):
                self._differ(books, instrument, key, believed, real)
        self._baseline = True

    def _was_held_before(self, instrument: Instrument, key: tuple[str, str]) -> bool:
        """Whether what the broker shows may be from before this process or day began."""
        first = not self._baseline or key in self._strange
        return first and not self._portfolio.owned(instrument, key[1]) and not self._portfolio.traded(instrument)

    def _may_be_ours(self, books: Books, instrument: Instrument, key: tuple[str, str], real: int) -> bool:
        """Whether a live order of ours may have made it, whose row was read before it filled, or lags: not once the order's row has had
        five seconds, and shows no fill for the same position."""
        if not any((order.instrument.key, order.product) == key for order in self._desk.live()):
            self._strange.pop(key, None)
            return False
        since, shown = self._strange.get(key, (books.asked_at, real))
        self._strange[key] = (since if shown == real else books.asked_at, real)
        if "books" in self._world.blinded or self._in_flight(instrument, books) or books.asked_at - self._strange[key][0] < ACKED_WITHIN:
            return True
        del self._strange[key]
        return False

    def _adopt(self, books: Books, row: BrokerPosition) -> None:
        """At the first read of a process or day: what the account holds beside ours is EXTERNAL from the start. Not where something was
        traded today: the books may stand still, and what they show be older than what the ledger knows."""
        why = "held at the broker when the day's first read was made"
        for change in self._portfolio.adopt(row.instrument, row.product, row.quantity, row.average_price, books.at, why):
            facts = {"strategy": change.strategy, "instrument": change.instrument.key, "product": change.product,
                     "quantity": change.quantity, "why": change.why}  # fmt: skip
            self._store.journal(books.at, "adopted", facts)
            tag = self._desk.lapsed.get((change.instrument.key, change.product))
            if tag is not None:
                text = (
                    f"{row.quantity} {change.instrument.key} ({change.product}) is at the broker, and {tag} of an earlier day, whose end "
                    "nobody saw, may have made it: it is EXTERNAL, and not traded by us; look at the contract note, and close it by hand "
                    "if it is not wanted"
                )
                self._alert("page", "Position of an unfinished order", text)

    def _differ(self, books: Books, instrument: Instrument, key: tuple[str, str], believed: int, real: int) -> None:
        seen = self._differences.get(key, 0) + 1
        self._differences[key] = seen
        self._differing[key] = instrument
        self._shortfalls[key] = believed - real
        if seen != 2:
            return
        reason = f"we believe {believed} {instrument.key} ({key[1]}), the broker shows {real}"
        self._world.frozen_by_books[instrument.key] = reason
        self._store.journal(books.at, "difference", {"instrument": instrument.key, "product": key[1], "believed": believed, "real": real})
        self._alert("page", "Positions differ", f"{reason}; entries in it are frozen until both agree")

    def _in_flight(self, instrument: Instrument, books: Books) -> bool:
        """Whether something of ours could explain a difference: an order in motion, or evidence younger than the read."""
        return any(
            order.state in IN_FLIGHT or order.state is OrderState.PENDING_NEW or order.updated_at >= books.asked_at
            for order in self._desk.all()
            if order.instrument.key == instrument.key
        )


def _doubt(order: Order, rows: Mapping[str, OrderUpdate], asked_at: datetime) -> str:
    """What the book does not show of this order although the broker told it more than five seconds before the read; "" for nothing."""
    if not order.broker_order_id or max(order.created_at, order.updated_at) + ACKED_WITHIN >= asked_at:
        return ""
    row = rows.get(order.broker_order_id)
    if row is None:
        today = order.created_at.date() == asked_at.date()  # a book lists one day
        return f"{order.broker_order_id} was acknowledged and is not in the order book" if today else ""
    if row.filled < order.filled or (order.state in TERMINAL and row.state is not None and row.state not in TERMINAL):
        return f"{order.broker_order_id} is {order.state} with {order.filled} filled, its book still shows {row.label} with {row.filled}"
    return ""


def _alike(order: Order, row: OrderUpdate) -> bool:
    """Whether this row could be that order, as it was sent; prices that a row does not say (0) say nothing."""
    near = order.instrument.tick_size / 2
    return (
        row.instrument.key == order.instrument.key
        and row.side is order.side
        and row.quantity == order.quantity
        and (not row.product or row.product == order.product)
        and (not row.limit_price or abs(row.limit_price - order.limit_price) < near)
        and (not row.trigger_price or abs(row.trigger_price - (order.trigger_price or 0.0)) < near)
    )
