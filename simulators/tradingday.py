"""The exchange's day: auctions at its ends, the broker's square-off at the cut-off, cancellation and settlement at the close."""

from datetime import date, datetime, timedelta

from simulators import books
from simulators.ladder import RMS, SECOND, Ladder
from simulators.listing import Listing
from simulators.matching import fillable
from simulators.money import square_off_fee
from simulators.orders import OrderParams, SimAccount, SimOrder, Status
from simulators.paths import number_of

SQUARE_OFF_CHUNK = 30_000  # shares in one order of the broker's square-off; derivatives by their freeze quantity
SQUARE_OFF_AGAIN = timedelta(seconds=5)
SEGMENTS = ("EQ_CAS", "EQ_NONCAS", "FO")


class TradingDay(Ladder):
    """What happens by the clock, whatever clients do."""

    def open_day(self, day: date) -> None:
        """After market.open_day: roll the books over the night, keep AMO orders, arm the day's cut-offs and closes."""
        for account in self._accounts.values():
            if account.day != day and account.day is not None:
                books.roll(account, self.market.listings)
            account.day = day
        self._heap, self._stops, self._cut, self._halted = [], {}, set(), False
        self._matcher.clear()
        self._rejects, self._partials = [], []
        self._numbers = {}
        self._roots = {item.underlying: key for key, item in self.market.listings.items() if item.kind in {"INDEX", "EQ"}}
        for segment in SEGMENTS:
            self._arm_segment(segment, day)
        self._at(self.market.closes_at, self._close_day)
        for account in self._accounts.values():
            for order in account.orders.values():
                if order.status is Status.AMO_RECEIVED:
                    order.listing = self.market.listings.get(order.listing.key, order.listing)
                    self._arm_amo(order, self.market.opens_at - SECOND)

    # --- the day's clock ----------------------------------------------------------------------------------------------------------
    def _arm_segment(self, segment: str, day: date) -> None:
        phases = self.facts.phases(segment, day)
        if not phases:
            return
        cut_off = self.facts.cut_off(self.broker, segment, day)
        if cut_off is not None:
            delay = timedelta(seconds=number_of(self.seed, day, segment, "square-off") % 45)
            self._at(cut_off, lambda due: self._cut.add(segment))
            self._at(cut_off + delay, lambda due: self._square_off(segment, due))
        opening = next((phase for phase in phases if phase.kind == "continuous"), None)
        if opening is not None and opening.start > phases[0].start:
            self._at(opening.start, lambda due: self._reopen(segment, due))
        closing = [phase for phase in phases if phase.kind == "auction"]
        if closing:
            self._at(closing[0].start, lambda due: self._begin_auction(segment, due, stops_only=True))
            self._at(closing[0].end, lambda due: self._begin_auction(segment, due, stops_only=False))
        self._at(phases[-1].end, lambda due: self._cancel_all(segment, due))

    def _orders_of(self, segment: str) -> list[SimOrder]:
        return [
            order
            for account in self._accounts.values()
            for order in account.orders.values()
            if order.live and order.status is not Status.AMO_RECEIVED and self._sessions.segment(order.listing, self.market.day) == segment
        ]

    def _reopen(self, segment: str, now: datetime) -> None:
        """What the opening auction left meets the continuous market as if it had just come."""
        for order in self._orders_of(segment):
            if order in self._matcher.working(order.listing.key):
                self._matcher.remove(order)
                self._matcher.arrive(order, now)

    def _begin_auction(self, segment: str, now: datetime, *, stops_only: bool) -> None:
        """Continuous trading ends: stop orders die; then limit orders outside the auction's band do."""
        for order in self._orders_of(segment):
            is_stop = order in self._stops.get(order.listing.key, ())
            if is_stop if stops_only else not self._in_band(order, now):
                self._end(
                    order,
                    Status.CANCELLED,
                    now,
                    "Cancelled by the exchange at the end of continuous trading.",
                    "17071 : Order cancelled by the system",
                )

    def _cancel_all(self, segment: str, now: datetime) -> None:
        for order in self._orders_of(segment):
            self._end(order, Status.CANCELLED, now)

    def _square_off(self, segment: str, now: datetime) -> None:
        """The broker closes intraday positions: pending orders first, then market orders of its own, in chunks, until flat or closed."""
        for order in self._orders_of(segment):
            if order.product == "MIS" and order.placed_by != RMS:
                self._end(order, Status.CANCELLED, now, "Cancelled by RMS: intraday square-off", "RMS:Cancelled by square-off")
        open_still = False
        for account in self._accounts.values():
            pending = {order.listing.key for order in account.orders.values() if order.live and order.placed_by == RMS}
            for position in list(account.positions.values()):
                if (
                    position.product != "MIS"
                    or not position.quantity
                    or self._sessions.segment(position.listing, self.market.day) != segment
                ):
                    continue
                open_still = True
                if position.listing.key not in pending:
                    self._exit(account, position.listing, position.quantity, now)
            for order in account.orders.values():
                if order.placed_by == RMS and order.status is Status.OPEN and fillable(order):
                    self._reprice(order, now)
        if open_still and now + SQUARE_OFF_AGAIN < self.facts.continuous(segment, self.market.day)[-1][1]:
            self._at(now + SQUARE_OFF_AGAIN, lambda due: self._square_off(segment, due))

    def _exit(self, account: SimAccount, listing: Listing, quantity: int, now: datetime) -> None:
        chunk = (
            SQUARE_OFF_CHUNK
            if listing.kind == "EQ"
            else max(listing.lot, (listing.freeze or SQUARE_OFF_CHUNK) // listing.lot * listing.lot)
        )
        left = abs(quantity)
        while left > 0:
            side = "SELL" if quantity > 0 else "BUY"
            params = OrderParams(listing.key, side, min(chunk, left), "MARKET", "MIS", protection=-1)
            left -= params.quantity
            order = self._make(account.user, RMS, listing, params, now)
            account.charges += square_off_fee(self.facts, self.broker)
            self._receive(order, now)

    def _reprice(self, order: SimOrder, now: datetime) -> None:
        self._matcher.remove(order)
        self._protect(order, self.market.quote(order.listing.key, now).last_price)
        self._rest(order, now)

    def _close_day(self, now: datetime) -> None:
        """After the last session: nothing stays open, expiring contracts settle."""
        finals: dict[str, float] = {}
        for account in self._accounts.values():
            for order in list(account.orders.values()):
                if order.live and order.status is not Status.AMO_RECEIVED:
                    self._end(order, Status.CANCELLED, now)
            self._mark(account)
            for position in account.positions.values():
                if position.listing.expiry == self.market.day and position.quantity:
                    finals[position.listing.key] = self._final_price(position.listing)
            books.settle(account, finals, self.market.day, self.facts)

    def _final_price(self, listing: Listing) -> float:
        """Settlement: the underlying's closing price, or what an option is worth at it; its own last price where that is not listed."""
        root = self._roots.get(listing.underlying)
        if root is None:
            return self.market.quote(listing.key).last_price
        close = self.market.quote(root).last_price
        if listing.kind == "FUT":
            return close
        return max(0.0, close - listing.strike if listing.kind == "CE" else listing.strike - close)

    def _arm_amo(self, order: SimOrder, now: datetime) -> None:
        """An after-market order enters when its market next opens (today, if that is still to come)."""
        day = now.date()
        for phase in self.facts.phases(self._sessions.segment(order.listing, day), day):
            if phase.start > now and (
                phase.kind == "continuous" or (phase.kind == "pre_open" and self._sessions.takes_part(order.listing, day))
            ):
                self._at(phase.start, lambda due: self._receive(order, due) if order.status is Status.AMO_RECEIVED else None)
                return
