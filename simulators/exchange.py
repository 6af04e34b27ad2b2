"""The exchange with one broker's desk in front of it, as the broker's simulators see it: requests, accounts, time, hooks for faults.

An order's life is in simulators/ladder.py, the day's clock in simulators/tradingday.py, matching in simulators/matching.py.
"""

from datetime import datetime
from heapq import heappop

from simulators import books
from simulators.desk import AMO_IN_HOURS, BUSY_CANCEL, BUSY_MODIFY, CLOSED, MOST_CHANGES, TOO_MANY_CHANGES, UNPROTECTED, door, sizes
from simulators.ladder import Terms, insufficient
from simulators.listing import Listing
from simulators.money import blocked, cash_effect, charges_of, margin_of
from simulators.orders import Change, OrderParams, OrderRefused, SimCharges, SimFunds, SimMargin, SimOrder, Status, Why
from simulators.tradingday import TradingDay

WORKING = frozenset({Status.OPEN, Status.TRIGGER_PENDING})


class Exchange(TradingDay):
    """One exchange with one broker's desk: `Exchange(market, facts, seed, broker="zerodha", cash=1_000_000.0)`.

    Time only moves in `advance`; call `market.step(second)` first, then `advance(now)`. `next_due()` must be among the moments time
    stops at. A day: `market.open_day(day)`, then `open_day(day)`; its end is done by `advance` at `market.closes_at`.
    `account(user)` gives the books: orders with their history, trades, positions, holdings.
    """

    # --- accounts -----------------------------------------------------------------------------------------------------------------
    def funds(self, user: str) -> SimFunds:
        """Rupees usable and used; charges leave the cash overnight."""
        account = self.account(user)
        used = blocked(account, self._spots(), self.market.day)
        futures = [position for position in account.positions.values() if self._is_marked(position.listing, position.product)]
        bought = [position for position in account.positions.values() if not self._is_marked(position.listing, position.product)]
        premium = used.option_premium - sum(min(0.0, cash_effect(item)) for item in bought if item.listing.kind in {"CE", "PE"})
        is_cash = [item for item in bought if item.listing.kind == "EQ"]
        delivery = sum(min(0.0, cash_effect(item)) for item in is_cash)
        unrealised = sum(item.unrealised for item in futures)
        net = account.cash + sum(cash_effect(item) for item in account.positions.values()) - used.total
        return SimFunds(
            opening_balance=account.cash,
            net=net,
            span=used.span + used.var,
            exposure=used.exposure,
            option_premium=premium,
            delivery=-delivery,
            m2m_realised=sum(item.m2m for item in futures) - unrealised,
            m2m_unrealised=unrealised,
            debits=account.cash - net,
            charges=account.charges,
        )

    def order_margin(self, params: OrderParams) -> SimMargin:
        """What this order alone would block, at its price or the last one."""
        listing = self._listing(params.key)
        price = params.price or params.trigger_price or self.market.quote(params.key).last_price
        spot = self._spots().get(listing.underlying, price)
        return margin_of(listing, params.side, params.product, params.quantity, price, spot, self.market.day)

    def order_charges(self, key: str, side: str, product: str, quantity: int, price: float) -> SimCharges:
        """Charges of one executed order by the simulator's own formula."""
        return charges_of(self.facts, self.broker, self._listing(key), side, product, quantity, price, self.market.day)

    def convert(self, user: str, key: str, side: str, quantity: int, old_product: str, new_product: str) -> None:
        """Convert part of an open position (`side` BUY = long) to another product; raises OrderRefused."""
        account, listing = self.account(user), self._listing(key)
        door(listing, side, quantity, "LIMIT", new_product, "DAY")
        before = self.funds(user).net
        books.convert(account, listing, side, quantity, old_product, new_product)
        needed = before - self.funds(user).net
        if needed > max(before, 0.0):
            books.convert(account, listing, side, quantity, new_product, old_product)
            raise OrderRefused(Why.MARGIN, insufficient(needed, before)[0])

    # --- requests -----------------------------------------------------------------------------------------------------------------
    def place(self, user: str, params: OrderParams, now: datetime, *, late: bool = False) -> SimOrder:
        """Receive an order. Raises OrderRefused for what the API refuses at once; what RMS or the exchange refuse ends REJECTED later.

        `late` is for a broker that gives every order an id first: then what is wrong with an order of a known listing ends REJECTED too.
        """
        listing = self._listing(params.key)
        try:
            self._check(listing, params, now)
        except OrderRefused as refusal:
            if not late:
                raise
            text = str(refusal)
            order = self._make(user, user, listing, params, now)
            self._row(order, Status.RECEIVED, now)
            self._after(order, now, lambda due: self._end(order, Status.REJECTED, due, text, text))
            return order
        order = self._make(user, user, listing, params, now)
        if params.variety == "amo":
            self._row(order, Status.AMO_RECEIVED, now)
            self._arm_amo(order, now)
        else:
            self._receive(order, now)
        return order

    def is_open(self, key: str, now: datetime) -> bool:
        """Whether orders for this listing are taken now (continuous trading or an auction); else only after-market orders are."""
        return self._sessions.phase(self._listing(key), now) is not None

    def _check(self, listing: Listing, params: OrderParams, now: datetime) -> None:
        """What is wrong with an order before anybody looks at money or prices; raises OrderRefused."""
        door(listing, params.side, params.quantity, params.order_type, params.product, params.validity)
        sizes(listing, params.side, params.quantity, params.order_type, params.price, params.trigger_price)
        if params.order_type in {"MARKET", "SL-M"} and params.protection == 0:
            raise OrderRefused(Why.INPUT, UNPROTECTED)
        is_open = self._sessions.phase(listing, now) is not None
        if params.variety == "amo":
            if is_open:
                raise OrderRefused(Why.ORDER, AMO_IN_HOURS)
        elif not is_open:
            raise OrderRefused(Why.ORDER, CLOSED)

    def modify(
        self,
        user: str,
        order_id: str,
        now: datetime,
        *,
        quantity: int | None = None,
        price: float | None = None,
        trigger_price: float | None = None,
        order_type: str | None = None,
        validity: str | None = None,
        disclosed_quantity: int | None = None,
        protection: float = 0.0,
    ) -> SimOrder:
        """Ask for a change; `quantity` is the new TOTAL including what is filled. Raises OrderRefused; at most 25 times for an order."""
        order = self._own(user, order_id)
        if order.status not in WORKING | {Status.AMO_RECEIVED}:
            raise OrderRefused(Why.ORDER, BUSY_MODIFY)
        if order.modifications >= MOST_CHANGES:
            raise OrderRefused(Why.ORDER, TOO_MANY_CHANGES)
        new = Terms(
            order.quantity if quantity is None else quantity,
            order.order_type if order_type is None else order_type,
            order.price if price is None else price,
            order.trigger_price if trigger_price is None else trigger_price,
            order.validity if validity is None else validity,
            protection,
        )
        door(order.listing, order.side, new.quantity, new.order_type, order.product, new.validity)
        sizes(order.listing, order.side, new.quantity, new.order_type, new.price, new.trigger)
        if new.order_type in {"MARKET", "SL-M"} and order_type is not None and protection == 0:
            raise OrderRefused(Why.INPUT, UNPROTECTED)
        if new.quantity < order.filled:
            raise OrderRefused(Why.INPUT, f"Quantity cannot be less than the filled quantity of {order.filled}.")
        if disclosed_quantity is not None:
            order.disclosed_quantity = disclosed_quantity
        order.modifications += 1
        if order.status is Status.AMO_RECEIVED:
            self._set_terms(order, new)
            self._row(order, Status.AMO_RECEIVED, now)
            return order
        self._row(order, Status.MODIFY_VALIDATING, now)
        self._after(order, now, lambda due: self._modify_pending(order, new, due))
        return order

    def cancel(self, user: str, order_id: str, now: datetime) -> SimOrder:
        """Ask for a cancel; a fill may still win the race. Raises OrderRefused on an unknown, terminal or busy order."""
        order = self._own(user, order_id)
        if order.status is Status.AMO_RECEIVED:
            self._end(order, Status.CANCELLED, now)
            return order
        if order.status not in WORKING:
            raise OrderRefused(Why.ORDER, BUSY_CANCEL)
        self._row(order, Status.CANCEL_PENDING, now)
        self._after(order, now, lambda due: self._end(order, Status.CANCELLED, due) if order.live else None)
        return order

    # --- time ---------------------------------------------------------------------------------------------------------------------
    def advance(self, now: datetime) -> list[Change]:
        """Do everything due up to `now` (prints, triggers, auctions, steps of the ladder, square-off, day end), in time order."""
        while True:
            second = self._next_second(now)
            due = self._heap[0][0] if self._heap else None
            if due is not None and due <= now and (second is None or due < second):
                if second is None:
                    self._played = max(self._played, due.replace(microsecond=0))
                heappop(self._heap)[2](due)
            elif second is not None:
                self._played = second
                self._second(second)
            else:
                break
        changes, self._changes = self._changes, []
        return changes

    def next_due(self) -> datetime | None:
        """The next moment this exchange has something to do of its own (not counting prints of the market)."""
        return self._heap[0][0] if self._heap else None

    # --- hooks of the fault layer and of tests ------------------------------------------------------------------------------------
    def force_reject(self, text: str, raw: str | None = None, user: str | None = None) -> None:
        """The next order (of this user) ends REJECTED with this text."""
        self._rejects.append((user, text, raw or text))

    def force_partial(self, quantity: int, user: str | None = None) -> None:
        """The next order (of this user) fills no more than `quantity` units until `release_partials`."""
        self._partials.append((user, quantity))

    def release_partials(self) -> None:
        """Let capped orders fill on."""
        for account in self._accounts.values():
            for order in account.orders.values():
                order.fill_cap = None

    def fill(self, order_id: str, quantity: int, price: float, now: datetime) -> None:
        """Somebody takes `quantity` of this live order at `price`, whatever the market does."""
        order = next(account.orders[order_id] for account in self._accounts.values() if order_id in account.orders)
        if not order.live or not 0 < quantity <= order.pending:
            raise ValueError(f"order {order_id} is {order.status} with {order.pending} pending; {quantity} cannot be filled")
        self._fill(order, quantity, price, now)

    def lock_circuit(self, key: str, side: str | None) -> None:
        """Lock a listing at its 'upper' or 'lower' circuit; None releases it."""
        self.market.lock(key, side)

    def halt(self, halted: bool) -> None:
        """Stop or resume trading: no prints, no fills; orders that come meanwhile are rejected by the exchange."""
        self._halted = halted
        self.market.halt(halted)

    def place_foreign(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        """An order of the same account from elsewhere (web, app): without a tag, otherwise like any."""
        bare = OrderParams(
            params.key,
            params.side,
            params.quantity,
            params.order_type,
            params.product,
            params.price,
            params.trigger_price,
            params.validity,
            protection=params.protection or -1,
        )
        return self.place(user, bare, now)
