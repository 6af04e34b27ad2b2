"""The ladder of an order's states: received, checked by the broker's risk desk, accepted by the exchange, matched, changed, ended.

Rules. A request is answered at once and takes effect a few tens of milliseconds later, step by step; every step is a row of the order's
history and a `Change`. Steps due at the same time happen in the order they were asked for. A second's prints come before the steps due
in that second. A pending cancel or change loses against a fill that comes first.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heappush
from itertools import count

from simulators import books
from simulators.desk import NOT_LISTED, Rejection, Sessions, price_problem, protected_price, protection_of
from simulators.facts import Facts
from simulators.listing import Listing, Market
from simulators.matching import Matcher
from simulators.money import blocked, cash_effect, charges_of
from simulators.orders import Change, HistoryRow, OrderParams, OrderRefused, SimAccount, SimOrder, SimTrade, Status, Why
from simulators.paths import number_of

RMS = "RMS"
SECOND = timedelta(seconds=1)
CAS_BAND = 0.03
FIRST_TRADE = 7_000_000

Step = Callable[[datetime], None]


class Terms:
    """What a modification sets."""

    __slots__ = ("order_type", "price", "protection", "quantity", "trigger", "validity")

    def __init__(self, quantity: int, order_type: str, price: float, trigger: float, validity: str, protection: float) -> None:
        self.quantity, self.order_type, self.price = quantity, order_type, price
        self.trigger, self.validity, self.protection = trigger, validity, protection


def insufficient(needed: float, available: float, user: str = "") -> Rejection:
    text = (
        f"Insufficient funds. Required margin is {needed:.2f} but available margin is {available:.2f}. Check the orderbook for open orders."
    )
    where = f"for entity account-{user} across exchange across segment across product"
    raw = f"RMS:Margin Exceeds,Required:{needed:.2f}, Available:{available:.2f} {where}"
    return text, raw


class Ladder:
    """Orders on their way between client, broker and exchange; the part of Exchange that knows no clock of the day."""

    def __init__(self, market: Market, facts: Facts, seed: int, broker: str = "zerodha", cash: float = 1_000_000.0) -> None:
        self.market = market
        self.facts = facts
        self.seed = seed
        self.broker = broker
        self.cash = cash
        self._sessions = Sessions(facts)
        self._accounts: dict[str, SimAccount] = {}
        self._matcher = Matcher(market, self._fill)
        self._stops: dict[str, list[SimOrder]] = {}
        self._heap: list[tuple[datetime, int, Step]] = []
        self._order_of_steps = count()
        self._changes: list[Change] = []
        self._played = datetime.min.replace(tzinfo=market.opens_at.tzinfo)
        self._numbers: dict[str, int] = {}
        self._roots: dict[str, str] = {}
        self._halted = False
        self._rejects: list[tuple[str | None, str, str]] = []
        self._partials: list[tuple[str | None, int]] = []
        self._cut: set[str] = set()  # session classes whose intraday cut-off has passed today

    def account(self, user: str) -> SimAccount:
        """The account of this user, made with the opening cash at first mention; positions and holdings carry last prices."""
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = SimAccount(user, self.cash)
        self._mark(account)
        return account

    # --- the ladder ---------------------------------------------------------------------------------------------------------------
    def _make(self, user: str, placed_by: str, listing: Listing, params: OrderParams, now: datetime) -> SimOrder:
        account = self.account(user)
        account.day = account.day or self.market.day
        number = self._number("order")
        order = SimOrder(
            id=f"{now:%y%m%d}{number * 1000 + number_of(self.seed, now.date(), number) % 1000:013d}",
            user=user,
            placed_by=placed_by,
            listing=listing,
            side=params.side,
            quantity=params.quantity,
            order_type=params.order_type,
            product=params.product,
            price=params.price if params.order_type in {"LIMIT", "SL"} else 0.0,
            trigger_price=params.trigger_price if params.order_type in {"SL", "SL-M"} else 0.0,
            validity=params.validity,
            disclosed_quantity=params.disclosed_quantity,
            variety=params.variety,
            tag=params.tag,
            tags=params.tags,
            parent_id=params.parent_id,
            requested_type=params.order_type,
            created_at=now,
            updated_at=now,
            protected=params.protection if params.order_type in {"MARKET", "SL-M"} else None,
            sequence=number,
        )
        account.orders[order.id] = order
        if placed_by != RMS:
            order.fill_cap = self._take_hook(self._partials, user)
        return order

    def _take_hook(self, hooks: list[tuple[str | None, int]], user: str) -> int | None:
        for index, (whose, value) in enumerate(hooks):
            if whose in (None, user):
                del hooks[index]
                return value
        return None

    def _receive(self, order: SimOrder, now: datetime) -> None:
        self._row(order, Status.RECEIVED, now)
        self._row(order, Status.VALIDATING, now)
        self._after(order, now, lambda due: self._validate(order, due))

    def _validate(self, order: SimOrder, now: datetime) -> None:
        """The broker's risk desk."""
        if order.order_type == "MARKET":
            self._protect(order, self.market.quote(order.listing.key, now).last_price)
        refusal = self._forced_reject(order) or self._risk(order, now)
        if refusal is not None:
            self._end(order, Status.REJECTED, now, *refusal)
            return
        self._row(order, Status.OPEN_PENDING, now)
        self._after(order, now, lambda due: self._accept(order, due))

    def _forced_reject(self, order: SimOrder) -> Rejection | None:
        for index, (user, text, raw) in enumerate(self._rejects):
            if user in (None, order.user) and order.placed_by != RMS:
                del self._rejects[index]
                return text, raw
        return None

    def _risk(self, order: SimOrder, now: datetime) -> Rejection | None:
        listing, account = order.listing, self.account(order.user)
        if order.placed_by == RMS:
            return None
        segment = self._sessions.segment(listing, self.market.day)
        if order.product == "MIS" and segment in self._cut:
            cut_off, other = self.facts.cut_off(self.broker, segment, self.market.day), "CNC" if listing.kind == "EQ" else "NRML"
            text = f"Intraday orders (MIS) are allowed only till {cut_off:%H:%M}. Try placing a {other} order."
            return text, "RMS:Blocked for MIS product after square-off time"
        last = self.market.quote(listing.key, now).last_price
        problem = price_problem(listing, order.side, order.order_type, order.price, order.trigger_price, last)
        return problem or self._cover(order, account)

    def _cover(self, order: SimOrder, account: SimAccount) -> Rejection | None:
        """Shares for a delivery sale, money for everything else."""
        if order.product == "CNC" and order.side == "SELL":
            free = books.deliverable(account, order.listing.key)
            if free < 0:
                have = max(0, free + order.pending)
                text = f"Insufficient stock holding: {have} available, {order.pending} to sell. Holding quantity insufficient."
                return text, "RMS:Rule: Check holdings including BTST for entity account-" + order.user
            return None
        spots, day = self._spots(), self.market.day
        price = order.price
        if not price:  # SL-M: by its trigger
            order.price = order.trigger_price
        after, before = blocked(account, spots, day).total, blocked(account, spots, day, without=order).total
        order.price = price
        needed = after - before
        available = account.cash + sum(cash_effect(position) for position in account.positions.values()) - before
        return insufficient(needed, available, order.user) if needed > 0 and needed > available else None

    def _accept(self, order: SimOrder, now: datetime) -> None:
        """The order reaches the exchange."""
        order.exchange_order_id = f"12{self._number('exchange'):014d}"
        order.exchange_at = now
        order.sequence = self._number("arrival")
        objection = self._sessions.objection(
            order.listing, order.order_type, order.requested_type, order.validity, order.disclosed_quantity, now
        )
        if self._halted:
            objection = ("Trading in this security is halted.", "16419 : Trading is halted")
        if objection is None:
            objection = self._auction_band(order, now)
        if objection is not None:
            self._end(order, Status.REJECTED, now, *objection)
        elif order.order_type in {"SL", "SL-M"}:
            self._row(order, Status.TRIGGER_PENDING, now)
            self._stops.setdefault(order.listing.key, []).append(order)
        else:
            self._rest(order, now)

    def _auction_band(self, order: SimOrder, now: datetime) -> Rejection | None:
        phase = self._sessions.phase(order.listing, now)
        if phase is None or phase.kind != "auction" or self._in_band(order, now):
            return None
        return ("Order price is outside the closing auction's price band.", "16283 : The order price is outside the auction price band")

    def _in_band(self, order: SimOrder, now: datetime) -> bool:
        """Within 3 % of the closing auction's reference, the volume-weighted price of the last quarter of an hour of continuous trading."""
        windows = self.facts.continuous(self._sessions.segment(order.listing, now.date()), now.date())
        end = windows[-1][1] - SECOND
        late, early = self.market.quote(order.listing.key, end), self.market.quote(order.listing.key, end - timedelta(minutes=15))
        volume = late.volume - early.volume
        reference = (late.average_price * late.volume - early.average_price * early.volume) / volume if volume else late.last_price
        return abs(order.price - reference) <= CAS_BAND * reference

    def _rest(self, order: SimOrder, now: datetime) -> None:
        """OPEN: take what is displayed (in continuous trading), rest with the remainder; an IOC's remainder dies."""
        self._row(order, Status.OPEN, now)
        phase = self._sessions.phase(order.listing, now)
        self._matcher.arrive(order, now, take=phase is not None and phase.kind == "continuous")
        if order.live and order.validity == "IOC":
            self._end(order, Status.CANCELLED, now)

    def _modify_pending(self, order: SimOrder, new: Terms, now: datetime) -> None:
        if order.live:
            self._row(order, Status.MODIFY_PENDING, now)
            self._after(order, now, lambda due: self._modified(order, new, due))

    def _modified(self, order: SimOrder, new: Terms, now: datetime) -> None:
        if not order.live:
            return
        old = Terms(order.quantity, order.order_type, order.price, order.trigger_price, order.validity, order.protected or 0.0)
        is_stop = order in self._stops.get(order.listing.key, ())
        keeps_place = new.price == old.price and new.quantity <= old.quantity and new.order_type == old.order_type and not is_stop
        self._set_terms(order, new)
        last = self.market.quote(order.listing.key, now).last_price
        if order.order_type == "MARKET":
            self._protect(order, last)
        problem = price_problem(order.listing, order.side, order.order_type, order.price, order.trigger_price, last)
        problem = problem or self._cover(order, self.account(order.user))
        if problem is not None:
            self._set_terms(order, old)
            order.message, order.raw_message = problem
            self._row(order, Status.TRIGGER_PENDING if is_stop else Status.OPEN, now)
            return
        self._row(order, Status.MODIFIED, now)
        if order.filled >= order.quantity:
            self._end(order, Status.COMPLETE, now)
            return
        if keeps_place:
            self._row(order, Status.OPEN, now)
            return
        self._withdraw(order)
        order.sequence = self._number("arrival")
        if order.order_type in {"SL", "SL-M"} and not order.triggered:
            self._row(order, Status.TRIGGER_PENDING, now)
            self._stops.setdefault(order.listing.key, []).append(order)
        else:
            self._rest(order, now)

    def _set_terms(self, order: SimOrder, new: Terms) -> None:
        order.quantity, order.order_type, order.price = max(new.quantity, order.filled), new.order_type, new.price
        order.trigger_price, order.validity = new.trigger if new.order_type in {"SL", "SL-M"} else 0.0, new.validity
        if new.protection:
            order.protected = new.protection

    def _protect(self, order: SimOrder, last: float) -> None:
        """A MARKET (or triggered SL-M) order becomes a LIMIT at the edge of its protection band."""
        percent = order.protected if order.protected is not None and order.protected > 0 else protection_of(order.listing, last)
        order.protected = percent
        order.price = protected_price(order.listing, order.side, last, percent)
        order.order_type = "LIMIT"

    def _fill(self, order: SimOrder, quantity: int, price: float, at: datetime) -> None:
        trade = SimTrade(
            id=str(FIRST_TRADE + self._number("trade/" + order.listing.exchange)),
            order_id=order.id,
            exchange_order_id=order.exchange_order_id or "",
            key=order.listing.key,
            side=order.side,
            product=order.product,
            quantity=quantity,
            price=price,
            at=at,
        )
        order.average_price = (order.average_price * order.filled + price * quantity) / (order.filled + quantity)
        order.filled += quantity
        order.exchange_at = at
        order.trades.append(trade)
        books.book(self._accounts[order.user], order, trade)
        if order.filled >= order.quantity:
            self._end(order, Status.COMPLETE, at, trade=trade)
        else:
            self._row(order, order.status, at, trade)

    def _end(
        self,
        order: SimOrder,
        status: Status,
        at: datetime,
        message: str | None = None,
        raw: str | None = None,
        trade: SimTrade | None = None,
    ) -> None:
        self._withdraw(order)
        order.message, order.raw_message = message, raw
        if status is Status.CANCELLED:
            order.cancelled = order.quantity - order.filled
            order.exchange_at = at
        self._row(order, status, at, trade)
        if order.filled and order.charges_booked is False:
            order.charges_booked = True
            charges = charges_of(
                self.facts, self.broker, order.listing, order.side, order.product, order.filled, order.average_price, self.market.day
            )
            self._accounts[order.user].charges += charges.total

    def _withdraw(self, order: SimOrder) -> None:
        self._matcher.remove(order)
        stops = self._stops.get(order.listing.key)
        if stops is not None and order in stops:
            stops.remove(order)
            if not stops:
                del self._stops[order.listing.key]

    def _row(self, order: SimOrder, status: Status, at: datetime, trade: SimTrade | None = None) -> None:
        order.status, order.updated_at = status, at
        row = HistoryRow(
            status=status,
            at=at,
            exchange_at=order.exchange_at,
            order_type=order.order_type,
            price=order.price,
            trigger_price=order.trigger_price,
            quantity=order.quantity,
            filled=order.filled,
            pending=order.pending,
            cancelled=order.cancelled,
            average_price=order.average_price,
            message=order.message,
            raw_message=order.raw_message,
        )
        order.history.append(row)
        self._changes.append(Change(order.user, order, row, trade))

    # --- the market's seconds -----------------------------------------------------------------------------------------------------
    def _next_second(self, now: datetime) -> datetime | None:
        """The next whole second up to `now` whose prints matter to some order; None (and all played) if there are no orders."""
        if not self._stops and not self._matcher.keys():
            return None
        following = max(self._played + SECOND, self.market.opens_at)
        return following if following <= min(now, self.market.closes_at) else None

    def _second(self, at: datetime) -> None:
        if self._halted:
            return
        for key in sorted({*self._stops, *self._matcher.keys()}):
            listing = self.market.listings[key]
            phase = self._sessions.phase(listing, at)
            if phase is None:
                continue
            if phase.kind == "continuous":
                for order in list(self._stops.get(key, ())):
                    self._trigger(order, at)
                self._matcher.second(key, at)
            elif at == self.facts.auction_at(self._sessions.segment(listing, at.date()), at.date(), phase.kind):
                for price, quantity in self.market.trades(key, at):
                    self._matcher.auction(key, price, quantity, at)

    def _trigger(self, order: SimOrder, at: datetime) -> None:
        """A stop order whose trigger is touched by a print joins the book."""
        buy = order.side == "BUY"
        hit = next(
            (
                price
                for price, _ in self.market.trades(order.listing.key, at)
                if (price >= order.trigger_price if buy else price <= order.trigger_price)
            ),
            None,
        )
        if hit is None:
            return
        self._withdraw(order)
        order.triggered = True
        if order.order_type == "SL-M":
            self._protect(order, hit)
        self._rest(order, at)

    # --- small things -------------------------------------------------------------------------------------------------------------
    def _at(self, due: datetime, step: Step) -> None:
        heappush(self._heap, (due, next(self._order_of_steps), step))

    def _after(self, order: SimOrder, now: datetime, step: Step) -> None:
        """In a few tens of milliseconds, drawn from the order's id and how far it is."""
        milliseconds = 6 + number_of(self.seed, order.id, len(order.history)) % 22
        self._at(now + timedelta(milliseconds=milliseconds), step)

    def _number(self, name: str) -> int:
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return self._numbers[name]

    def _listing(self, key: str) -> Listing:
        listing = self.market.listings.get(key)
        if listing is None:
            raise OrderRefused(Why.INPUT, NOT_LISTED)
        return listing

    def _own(self, user: str, order_id: str) -> SimOrder:
        order = self.account(user).orders.get(order_id)
        if order is None:
            raise OrderRefused(Why.ORDER, "Order does not exist.")
        return order

    def _mark(self, account: SimAccount) -> None:
        for position in account.positions.values():
            if position.listing.key in self.market.listings and not (position.listing.expiry == self.market.day and not position.quantity):
                position.last_price = self.market.quote(position.listing.key).last_price
        for holding in account.holdings.values():
            if holding.listing.key in self.market.listings:
                holding.last_price = self.market.quote(holding.listing.key).last_price

    def _spots(self) -> dict[str, float]:
        """Last prices of the underlyings that held or ordered options need."""
        listings = [item.listing for account in self._accounts.values() for item in account.positions.values()]
        listings += [item.listing for account in self._accounts.values() for item in account.orders.values()]
        roots = {listing.underlying for listing in listings if listing.kind in {"CE", "PE"}}
        return {root: self.market.quote(self._roots[root]).last_price for root in sorted(roots) if root in self._roots}

    def _is_marked(self, listing: Listing, product: str) -> bool:
        """Is this position marked to the market in cash (futures, intraday shares) rather than paid for?"""
        return listing.kind == "FUT" or (listing.kind == "EQ" and product == "MIS")
