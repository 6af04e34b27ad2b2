"""When an order of unknown fate counts as never having arrived: only by a book that is known to be younger than the order.

Rules (promise P2; docs/adr/0025):
1. Absent is what four complete reads over 120 seconds do not show, while no order of the same shape that nobody owns is there, and the
   broker's position in it is unchanged. Books in doubt prove nothing. An order whose call has not come back is never absent.
2. That is half of a proof: books that stand still look like books without news. The other half is a sign of life: the order book shows an
   order of ours on the same exchange (a broker may list each by itself) that was sent at least 120 seconds after the fate of this one
   became unknown.
3. Without a sign of life the order stays UNKNOWN, and its key waits: no entry, no further exit. A person is paged at the fourth read.
4. A person who does not find it at the broker's terminal may say so (`absent TAG --confirm`), from 120 seconds on. That word stands for
   the sign of life, never for the reads.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from core.events import Books
from core.types import Order, OrderState, Purpose
from execution_engine.order_manager import Alert, Change, OrderDesk
from execution_engine.portfolio import Portfolio
from execution_engine.world import World

ABSENT_READS = 4
ABSENT_FOR = timedelta(seconds=120)


class _Missing(msgspec.Struct):
    """An order that the books do not show."""

    first: datetime  # when the first read that did not show it was asked for
    reads: int = 0


class Absence:
    """Judges the orders of unknown fate by each complete read. Lives on the engine thread."""

    def __init__(
        self, desk: OrderDesk, portfolio: Portfolio, world: World, alert: Alert, was_there: Callable[[str], bool] = lambda number: False
    ) -> None:
        """`was_there`, of a broker's order id: it is somebody else's, and older than what is of unknown fate (asked where no tags come)."""
        self._desk = desk
        self._was_there = was_there
        self._portfolio = portfolio
        self._world = world
        self._alert = alert
        self._missing: dict[str, _Missing] = {}
        self._told: set[str] = set()  # orders of which a person was told
        self._said: dict[str, datetime] = {}  # order -> when a person did not find it at the broker

    def look(self, books: Books) -> list[Change]:
        """What one read proves absent."""
        unknown = self._desk.unknown()
        alive = {order.id for order in unknown}
        self._said = {name: at for name, at in self._said.items() if name in alive}
        self._told &= alive
        if not unknown or "books" in self._world.blinded:
            self._missing.clear()
            return []
        self._missing = {name: one for name, one in self._missing.items() if name in alive}
        youngest = self._youngest(books)
        judged = (self._judge(order, youngest.get(order.instrument.exchange), books) for order in unknown)
        return [change for change in judged if change is not None]

    def say(self, tag: str, now: datetime) -> str:
        """Take a person's word that the broker does not have this order; why it cannot be taken, or ""."""
        order = next((one for one in self._desk.unknown() if one.tag == tag), None)
        if order is None or order.state is not OrderState.UNKNOWN:
            known = next((one for one in self._desk.all() if one.tag == tag), None)
            return f"{tag} is {known.state}: its fate is known" if known is not None else f"no order of today has the tag {tag!r}"
        if now < _sure_from(order):
            return f"{tag} may still be on its way: look again at {_sure_from(order):%H:%M:%S}"
        self._said[order.id] = now
        return ""

    def _judge(self, order: Order, youngest: Order | None, books: Books) -> Change | None:
        if order.state is not OrderState.UNKNOWN or order.updated_at >= books.asked_at:
            return None  # SENDING: its call has not come back, it may leave a second from now
        if self._same_shape(order, books):
            self._missing.pop(order.id, None)  # it may be ours under a lost tag: never proof of absence
            return None
        missing = self._missing.setdefault(order.id, _Missing(books.asked_at))
        missing.reads += 1
        spanned = books.asked_at - missing.first
        if missing.reads < ABSENT_READS:
            return None
        sign = self._sign(order, youngest)
        if sign and spanned >= ABSENT_FOR and self._unmoved(order, books):
            evidence = f"absent from {missing.reads} complete reads over {spanned.total_seconds():.0f} s, position unchanged; {sign}"
            self._alert("warn", "Order never reached the broker", f"{order.tag} {order.instrument.key}: {evidence}")
            del self._missing[order.id]
            return self._desk.not_found(order, books.at, evidence)
        if not sign and order.id not in self._told:
            self._told.add(order.id)
            self._ask(order, missing.reads)
        return None

    def _ask(self, order: Order, reads: int) -> None:
        """Nothing shows that the book is younger than the order: a person must look."""
        sure = _sure_from(order)
        waits = "Its key makes no entry meanwhile" if order.purpose is Purpose.ENTRY else "What it was to close may still be open"
        what = f"{order.side} {order.quantity} {order.instrument.key} ({order.tag}, {order.purpose} of {order.strategy})"
        text = (
            f"{what}, sent at {order.created_at:%H:%M:%S}, was never answered, and {reads} reads of the broker's order book do not show "
            f"it; but nothing in that book is younger, so it may stand still. {waits}, and it is not sent again. Look at the broker's "
            f"terminal: if it is there, leave it to the engine; if it is not there at {sure:%H:%M:%S} or later, "
            f"`absent {order.tag} --confirm`. An order of ours on {order.instrument.exchange}, sent after that and shown, settles it too"
        )
        self._alert("page", "Look for an order", text)

    def _youngest(self, books: Books) -> dict[str, Order]:
        """By exchange, the order of ours in the book that was sent last: the book is at least as young as that. Its tag tells, which is
        counted: a clock that was set back makes older orders look younger."""
        found: dict[str, Order] = {}
        for row in books.orders:
            order = self._desk.owner(row.broker_order_id, row.tag)
            if order is not None:
                known = found.setdefault(order.instrument.exchange, order)
                found[order.instrument.exchange] = max(known, order, key=lambda one: one.tag)
        return found

    def _sign(self, order: Order, youngest: Order | None) -> str:
        """What shows that the books are younger than this order, in words; "" for nothing."""
        if youngest is not None and youngest.tag > order.tag and youngest.created_at >= _sure_from(order):
            return f"the book shows {youngest.tag}, sent at {youngest.created_at:%H:%M:%S}"
        said = self._said.get(order.id)
        return f"a person did not find it at {said:%H:%M:%S}" if said is not None else ""

    def _same_shape(self, order: Order, books: Books) -> bool:
        return any(
            row.instrument.key == order.instrument.key
            and row.side is order.side
            and row.quantity == order.quantity
            and row.product == order.product
            and self._desk.owner(row.broker_order_id, row.tag) is None
            and (self._world.tags_echoed or not self._was_there(row.broker_order_id))
            and (row.exchange_at is None or row.exchange_at >= order.created_at - timedelta(seconds=5))
            for row in books.orders
        )

    def _unmoved(self, order: Order, books: Books) -> bool:
        if books.positions is None:
            return False
        shown = sum(p.quantity for p in books.positions if (p.instrument.key, p.product) == (order.instrument.key, order.product))
        return shown == self._portfolio.net(order.instrument, order.product)


def _sure_from(order: Order) -> datetime:
    """From when on a book that does not show this order will not show it any more: it cannot be on its way any longer."""
    return order.updated_at + ABSENT_FOR
