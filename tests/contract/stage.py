"""One account at one broker's simulator: our session, client and feed over real sockets, and a hand behind the broker's desk."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from datetime import time as daytime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from brokers.spec import Endpoints
from core.errors import BrokerError, ConfigError, DataError, Rejected
from core.events import Event, OrderUpdate
from core.ports import Broker, DataSession, Feed, OrderwiseTrades, Token
from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, Side
from simulators.orders import OrderParams, SimOrder
from tests.builders import make_order
from tests.contract.clock import HandClock
from tests.contract.kit import Kit
from tests.contract.served import Served
from tests.wire.house import AuditLog
from utils.pacing import Budget

T = TypeVar("T")
DAY = date(2026, 11, 20)
CASH = 1e9  # enough for every card that is not about money
FAR, NEAR = 0.98, 1.005  # of the last price: rests for the length of a card; fills at once


class Instruments:
    """A day's instruments by the broker's token and by our key."""

    def __init__(self, day: date, tokens: Mapping[Token, Instrument]) -> None:
        self.day = day
        self.tokens = tokens
        self._keys = {one.key: (token, one) for token, one in tokens.items()}

    def by_key(self, key: str) -> Instrument | None:
        return self._keys[key][1] if key in self._keys else None

    def by_token(self, token: Token) -> Instrument | None:
        return self.tokens.get(token)

    def token(self, instrument: Instrument) -> Token:
        if instrument.key not in self._keys:
            raise DataError(f"the snapshot of {self.day} does not hold {instrument.key}")
        return self._keys[instrument.key][0]

    def by_token_start(self, beginning: str) -> Instrument | None:
        found = [one for token, one in self.tokens.items() if str(token).startswith(beginning)]
        return found[0] if len(found) == 1 else None

    def without(self, key: str) -> "Instruments":
        """The same, had the broker's file lacked this instrument."""
        return Instruments(self.day, {token: one for token, one in self.tokens.items() if one.key != key})


class Stage:
    """`start` is the time of day at which everything begins, already logged in."""

    def __init__(self, kit: Kit, folder: Path, start: daytime = daytime(9, 30), day: date = DAY) -> None:
        self.kit = kit
        self.spec = kit.spec
        self.served = Served(kit.name, day, start)
        told = self.served.told
        self.user: str = told["user_id"]
        self.clock = HandClock(datetime.combine(day, start, IST), self.served.move)
        self.endpoints = Endpoints(told["rest"], told["stream"], told["login"])
        self.login_page: str = told["login"]
        self.events: list[Event] = []
        self.audit = AuditLog()
        self.token_file = folder / f"{kit.name}.json"
        self.session = self.spec.make_session("live", self, self.clock, self.token_file, self.endpoints, self.events.append)
        self.session.audit = self.audit
        self.budget = Budget(self.clock, self.spec.limits)
        self.lookup = Instruments(day, {})
        self.spoilt = False  # a card spent the budget on purpose
        self._tags = 0
        self._began = 0
        self._known: set[str] = set()  # ids that are accounted for
        self._feeds: list[Any] = []
        self._broker: Broker | None = None
        self.session.auto_login(self.login_page)
        self.load_instruments()
        self.account.cash = CASH

    def get_secret(self, name: str) -> str:
        found = self.served.told["credentials"].get(name.removeprefix(f"{self.kit.name}_".upper()).lower())
        if found is None:
            raise ConfigError(f"{name} is not set")
        return str(found)

    def stop(self) -> None:
        self.rest()
        self._close()
        self.served.stop()

    # --- between cards ------------------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Leave nothing of one card to the next: no fault, no feed, no live order, no spent budget, a living session."""
        for feed in self._feeds:
            feed.stop()
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            for _ in range(70):  # a thread that waits for its place in the limits ends when that has come
                if feed.join(0.5):
                    break
                self.pass_(1.0)
            else:
                raise AssertionError("a feed's threads outlive it")
        self.served.run(self.served.simulator.faults.entries.clear)
        self.served.run(self.served.exchange.release_partials)
        self.served.run(self.served.exchange.halt, False)
        for order in list(self.account.orders.values()):
            if order.live:
                self._withdraw(order)
        self._close()
        self.pass_(2.0)
        if not self.kit.keeps_budget or self.spoilt:
            self.pass_(61.0 if self.spoilt else 0.0)
            self.budget, self.spoilt = Budget(self.clock, self.spec.limits), False
        while self.kit.keeps_budget and self.budget.usage()[self.kit.minute][0] > 10:
            self.pass_(5.0)
        self.audit.lines.clear()
        try:
            self.session.token()
        except BrokerError:
            self.session.auto_login(self.login_page)
        self.events.clear()
        self._known |= {self.kit.order_id(order) for order in self.account.orders.values()}
        self._began = self.served.simulator.requests[-1]["number"] if self.served.simulator.requests else 0

    def _withdraw(self, order: SimOrder) -> None:
        for _ in range(20):
            if order.status.value in ("OPEN", "TRIGGER_PENDING", "AMO_RECEIVED"):
                self.served.run(self.served.exchange.cancel, self.user, order.id, self.clock.now())
            self.pass_(0.1)
            if not order.live:
                return
        raise AssertionError(f"order {order.id} is still {order.status}")

    def _close(self) -> None:
        if self._broker is not None:
            self._broker.close()  # type: ignore[attr-defined]
        self._broker = None

    # --- time and faults ----------------------------------------------------------------------------------------------------------------

    def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def until(self, ready: Callable[[], T], seconds: float = 90.0, step: float = 0.25) -> T:
        """Let up to `seconds` of market time pass until `ready` says so; what the sockets carry meanwhile has time to arrive."""
        end = self.clock.monotonic() + seconds
        while not (answer := ready()):
            assert self.clock.monotonic() < end, f"what was waited for did not come within {seconds:g} s of the market"
            self.pass_(step)
            self.clock.quiet()
            time.sleep(0.001)
            late = time.monotonic() + 0.1
            while any(1.5 < feed.silent_for < 1e9 for feed in self._feeds) and time.monotonic() < late and not ready():
                time.sleep(0.001)  # a busy machine must not look like a dead feed
        return answer

    def fault(self, kind: str, route: str = "", **values: Any) -> None:
        match = {**({"route": route} if route else {}), **values.pop("match", {})}
        self.served.run(self.served.simulator.faults.add, {"fault": kind, "match": match, **values})

    def struck(self) -> int:
        """How often the faults of this card have struck."""
        return sum(len(fault.struck) for fault in self.served.simulator.faults.entries)

    def kill_token(self) -> None:
        self.served.run(self.served.simulator.sessions.kill_all)

    # --- what the broker saw ------------------------------------------------------------------------------------------------------------

    @property
    def account(self) -> Any:
        return self.served.run(self.served.exchange.account, self.user)

    def trades(self) -> Any:
        """The trade book, asked for by a client that has no memory of it."""
        self._close()
        self.broker.orders()
        return self.broker.trades()

    def restarted(self, *booked: Order) -> None:
        """A client of a new process, whose ledger holds what these have filled; asked for nothing yet."""
        ids = {self.row(order).broker_order_id: order.quantity for order in booked}
        self._close()
        if isinstance(self.broker, OrderwiseTrades):
            self.broker.executed(ids)

    def asked(self) -> list[str]:
        """The routes that were asked since this card began."""
        return [f"{one['method']} {one['path']}" for one in self.served.simulator.requests if one["number"] > self._began]

    def sent(self) -> list[str]:
        """The order routes among them."""
        return [word for word in self.asked() if any(_like(word, route) for route in self.kit.routes.orders_sent())]

    def at_broker(self, tag: str) -> list[SimOrder]:
        return [order for order in self.account.orders.values() if order.tag == tag]

    def foreign(self, instrument: Instrument, side: Side, *, price: float = 0.0, variety: str = "regular") -> SimOrder:
        """The same account's order from the broker's own app."""
        product = "MIS" if instrument.kind is not Kind.EQUITY else "CNC"
        params = OrderParams(
            instrument.key, side.value, instrument.lot, "LIMIT", product, price or self.near(instrument, side), variety=variety
        )
        if variety == "amo":
            made: SimOrder = self.served.run(self.served.exchange.place, self.user, params, self.clock.now())
        else:
            made = self.served.run(self.served.exchange.place_foreign, self.user, params, self.clock.now())
        return made

    # --- our side -----------------------------------------------------------------------------------------------------------------------

    def load_instruments(self) -> None:
        rows = self.spec.parse_instruments(self.data().instruments())
        self.lookup = Instruments(self.clock.now().date(), {row.token: row.instrument() for row in rows})
        assert not rows.skipped, rows.skipped

    def data(self) -> DataSession:
        return self.spec.make_data(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    @property
    def broker(self) -> Any:
        if self._broker is None:
            self._broker = self.spec.make_broker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)
        return self._broker

    def feed(self, *instruments: Instrument) -> "Heard":
        return Heard(self, instruments)

    def keep(self, feed: Any) -> None:
        self._feeds.append(feed)

    # --- instruments and prices ---------------------------------------------------------------------------------------------------------

    def listed(self, kind: Kind, underlying: str = "NIFTY") -> Instrument:
        """The first to expire of that kind; of options the one nearest to the money."""
        found = [one for one in self.lookup.tokens.values() if one.kind is kind and one.underlying == underlying]
        level = self.last(self.index) if kind in (Kind.CALL, Kind.PUT) else 0.0
        return min(found, key=lambda one: (one.expiry or date.max, abs((one.strike or 0.0) - level), one.key))

    @property
    def future(self) -> Instrument:
        return self.listed(Kind.FUTURE)

    @property
    def share(self) -> Instrument:
        return self.listed(Kind.EQUITY, "RELIANCE")

    @property
    def option(self) -> Instrument:
        return self.listed(Kind.CALL)

    @property
    def index(self) -> Instrument:
        return min(
            (one for one in self.lookup.tokens.values() if one.kind is Kind.INDEX), key=lambda one: (one.underlying != "NIFTY", one.key)
        )

    def of(self, kind: Kind) -> Instrument:
        return {Kind.FUTURE: self.future, Kind.EQUITY: self.share, Kind.CALL: self.option}[kind]

    def last(self, instrument: Instrument) -> float:
        """The market's price now, not asked of the API."""
        price: float = self.served.run(lambda: self.served.simulator.world.market.quote(self._market_key(instrument)).last_price)
        return price

    def _market_key(self, instrument: Instrument) -> str:
        if instrument.kind is Kind.INDEX:
            return "NSE:NIFTY 50"
        return instrument.key

    def at(self, instrument: Instrument, factor: float) -> float:
        tick = instrument.tick_size
        return round(round(self.last(instrument) * factor / tick) * tick, 2)

    def far(self, instrument: Instrument, side: Side) -> float:
        """A limit that rests: 2 % away, an option's 20 %."""
        gap = 0.2 if instrument.is_option else 1 - FAR
        return self.at(instrument, 1 - side.sign * gap)

    def near(self, instrument: Instrument, side: Side) -> float:
        """A limit that fills at once."""
        gap = 0.1 if instrument.is_option else NEAR - 1
        return self.at(instrument, 1 + side.sign * gap)

    # --- orders -------------------------------------------------------------------------------------------------------------------------

    def order(self, instrument: Instrument | None = None, **changes: Any) -> Order:
        """A day's limit order to buy one lot (ten shares), which rests; a tag of its own."""
        instrument = instrument or self.future
        self._tags += 1
        side = changes.get("side", Side.BUY)
        horizon = changes.get("horizon", Horizon.INTRADAY)
        order = make_order(
            id=f"20261120-{self._tags}",
            tag=f"CARD{self._tags:012d}",
            account="live",
            instrument=instrument,
            quantity=instrument.lot if instrument.lot > 1 else 10,
            limit_price=self.far(instrument, side),
            horizon=horizon,
            product=self.spec.product(horizon, instrument),
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
        )
        return msgspec.structs.replace(order, **changes)

    def stop_order(self, instrument: Instrument | None = None, side: Side = Side.SELL, away: float = 0.01, **changes: Any) -> Order:
        """A stop that rests `away` from the market."""
        instrument = instrument or self.future
        away = 0.1 if instrument.is_option else away
        trigger, limit = self.at(instrument, 1 + side.sign * away), self.at(instrument, 1 + side.sign * (away + 0.005))
        return self.order(instrument, side=side, order_type=OrderType.SL, trigger_price=trigger, limit_price=limit, **changes)

    def place(self, order: Order, *, settle: bool = True) -> Order:
        placed = msgspec.structs.replace(order, broker_order_id=self.broker.place(order))
        self._known.add(str(placed.broker_order_id))
        if settle:
            self.settle()
        return placed

    def settle(self) -> None:
        """The broker's and the exchange's answers to what was asked last."""
        self.pass_(0.5)

    def filled(self, instrument: Instrument | None = None, **changes: Any) -> Order:
        """An order that has filled."""
        instrument = instrument or self.future
        order = self.place(self.order(instrument, limit_price=self.near(instrument, changes.get("side", Side.BUY)), **changes))
        self.until(lambda: self.at_broker(order.tag)[0].filled == order.quantity, 60.0)
        return order

    def executed(self, instrument: Instrument, **changes: Any) -> Order:
        """An order as it is in our ledger when it has filled at the last price; the broker has seen none."""
        order = self.order(instrument, **changes)
        product = self.kit.products[order.horizon, instrument.kind if not instrument.is_option else Kind.CALL]
        done = {"filled": order.quantity, "average_price": self.last(instrument), "product": product, "broker_order_id": "1"}
        return msgspec.structs.replace(order, **done)

    def fill(self, order: Order, quantity: int) -> None:
        """The market takes `quantity` of our resting order, at its limit."""
        self.served.run(self.served.exchange.fill, self.at_broker(order.tag)[0].id, quantity, order.limit_price, self.clock.now())

    def row(self, order: Order) -> OrderUpdate:
        """The book's row of our order; there is exactly one. It is found by its tag, where the broker gives tags back."""
        found: OrderUpdate
        (found,) = [row for row in self.broker.orders() if self.mine(row, order)]
        return found

    def mine(self, row: OrderUpdate, order: Order) -> bool:
        if self.kit.echoes_tags:
            return row.tag == order.tag
        assert row.tag is None
        if order.broker_order_id:
            return row.broker_order_id == order.broker_order_id
        terms = row.instrument, row.side, row.quantity
        return terms == (order.instrument, order.side, order.quantity) and row.broker_order_id not in self._known

    def turned_down(self, order: Order) -> str:
        """The reason with which the broker, not this house, refuses this order for certain: at once, or after it gave it an id."""
        before = len(self.sent())
        try:
            order = self.place(order)
        except Rejected as error:
            assert len(self.sent()) == before + 1, "it should have been sent"
            assert not self.kit.late_refusals or not self.at_broker(order.tag), "refused for certain, and yet in the book"
            return str(error)
        row = self.row(order)
        assert row.state is OrderState.REJECTED, row
        assert row.filled == 0
        return row.reason

    def position(self, instrument: Instrument, product: str = "") -> int:
        rows = [row for row in self.broker.positions() if row.instrument == instrument and product in ("", row.product)]
        return sum(row.quantity for row in rows)


class Heard:
    """A feed that runs, and all that it put into the inbox."""

    def __init__(self, stage: Stage, instruments: Sequence[Instrument]) -> None:
        self._stage = stage
        self.events: list[Event] = []
        clock: Any = stage.clock
        self.feed: Feed = stage.spec.make_feed(
            "live", stage.session, clock, self._put, stage.endpoints, lambda: stage.lookup, "native", lambda: True
        )
        stage.keep(self.feed)
        self.feed.subscribe(instruments)
        self.feed.start()

    def _put(self, events: Sequence[Event], origin: str) -> None:
        self.events.extend(events)

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def following(self, kind: type[T], wanted: Callable[[T], bool] = lambda event: True, seconds: float = 90.0) -> T:
        """The next event of this kind from now on that is wanted."""
        seen = len(self.events)
        return self._stage.until(lambda: next((one for one in self.events[seen:] if isinstance(one, kind) and wanted(one)), None), seconds)  # type: ignore[return-value]

    def any(self, kind: type[T], wanted: Callable[[T], bool] = lambda event: True, seconds: float = 90.0) -> T:
        """The first such event since the feed began."""
        return self._stage.until(lambda: next((one for one in list(self.events) if isinstance(one, kind) and wanted(one)), None), seconds)  # type: ignore[return-value]

    def confirmed(self) -> None:
        """Everything that is subscribed has ticked on the present connection."""
        self._stage.until(lambda: self.feed.confirmed == self.feed.desired and self.feed.desired)


def _like(word: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(word, pattern)
