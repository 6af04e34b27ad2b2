"""The daemon's side of the wire, without a wire: session, client and feed over a Venue, with latencies and faults by the seed."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from brokers.spec import Announce, Audit, Put
from core.errors import BrokerError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, Event, FeedStatus, Funds, Guard, OrderUpdate, SessionStatus, Trade
from core.ports import TokenSource
from core.types import IST, Bar, Instrument, Order, SessionState, Tick
from tests.simulation.faults import Plan
from tests.simulation.personality import Personality
from tests.simulation.venue import Venue, is_entry
from tests.simulation.virtual import Killed, VirtualClock, sleep
from utils.departure import NeverSent, mine
from utils.pacing import Budget, Lane

ORDER_S, READ_S, SILENCE_S = 3.0, 7.0, 5.0
T = TypeVar("T")


@dataclass
class Login:
    """The token file: it outlives the process."""

    token: str = "token-1"
    refused: str = ""


class SimSession:
    """brokers.spec.Session over a Login."""

    audit: Audit | None = None

    def __init__(
        self, account: str, clock: VirtualClock, login: Login, announce: Announce, renew: Callable[[], None] | None = None
    ) -> None:
        """`renew`: asks for another token without a person."""
        self._renew = renew
        self._account = account
        self._clock = clock
        self._login = login
        self._announce = announce
        self._told: SessionState | None = None

    def token(self) -> str:
        if self.state() is SessionState.LOGIN_REQUIRED:
            raise SessionExpired(f"account {self._account} needs today's login ({self._login.refused})", code="LOGIN_REQUIRED")
        return self._login.token

    def invalidate(self, token: str, reason: str) -> None:
        if token == self._login.token and not self._login.refused:
            self._login.refused = reason
            self.state()
            if self._renew is not None:
                self._renew()

    def state(self) -> SessionState:
        state = SessionState.LOGIN_REQUIRED if self._login.refused else SessionState.VALID
        if state is not self._told:
            self._told = state
            self._announce(SessionStatus(self._clock.now(), self._account, state, self._login.refused))
        return state

    def login_url(self) -> str:
        return "the simulated broker's login page"

    def accept(self, answer: str) -> None:
        self._login.token, self._login.refused, self._told = answer, "", None
        self.state()

    def auto_login(self, login_page: str) -> None:
        raise Rejected("a simulated day logs in by itself")

    def expires_at(self) -> datetime | None:
        return self._clock.now() + timedelta(hours=12)


@dataclass
class Fate:
    """What becomes of one call: seconds until it arrives (None: never), until its reply (None: never), and the error it ends in."""

    arrive: float | None
    reply: float | None
    error: BrokerError | None = None


def fate_of_order(kind: str, plan: Plan, clock: VirtualClock, chance: random.Random, personality: Personality) -> Fate:
    """What becomes of an order call that leaves now."""
    now = clock.true
    arrive, reply = chance.uniform(*personality.way_s), chance.uniform(*personality.way_s)
    if (outage := plan.outage(now)) is not None:
        outage.struck += 1
        fate = chance.random()
        if fate < 0.3:
            return Fate(arrive, None)
        return Fate(None, None) if fate < 0.7 else Fate(None, reply, NeverSent("connection refused"))
    ends: Mapping[str, Callable[[], Fate]] = {
        "ack_lost": lambda: Fate(arrive, None),
        "request_lost": lambda: Fate(None, None),
        "arrives_late": lambda: Fate(chance.uniform(3.5, 20.0), reply),
        "reset_booked": lambda: Fate(arrive, reply, Unknown("connection reset by peer")),
        "reset": lambda: Fate(None, reply, Unknown("connection reset by peer")),
        "502_booked": lambda: Fate(arrive, reply, Unknown("HTTP 502: <html>", code="502")),
        "502": lambda: Fate(chance.choice((None, arrive)) if kind == "modify" else None, reply, Unknown("HTTP 502: <html>", code="502")),
        "no_id": lambda: Fate(arrive, reply, Unknown("the reply carries no order id")),
        "429": lambda: Fate(None, reply, RateLimited("Too many requests", code="429")),
        "refused": lambda: Fate(None, reply, Rejected("it cannot be done, says the simulation")),
        "slow": lambda: Fate(arrive, chance.uniform(1.5, 2.8)),
        "late": lambda: Fate(chance.uniform(0.8, 2.5), reply),
    }
    for end, make in ends.items():
        if plan.strike(f"{kind}_{end}", now):
            return make()
    return Fate(arrive, reply)


def fate_of_read(plan: Plan, clock: VirtualClock, chance: random.Random) -> Fate:
    """What becomes of a read that leaves now."""
    now = clock.true
    if plan.outage(now) is not None:
        return Fate(None, None) if chance.random() < 0.6 else Fate(None, 0.05, Transient("connection refused"))
    if plan.active("books_fail", now) is not None:
        return chance.choice((Fate(None, None), Fate(None, 0.05, Transient("HTTP 503"))))
    if plan.active("books_slow", now) is not None:
        return Fate(chance.uniform(0.1, 3.0), chance.uniform(0.1, 3.5))
    return Fate(chance.uniform(0.004, 0.04), chance.uniform(0.004, 0.04))


class SimBroker:
    """core.ports.Broker at the port: the exchange answers, the wire loses."""

    def __init__(self, seed: int, session: SimSession, clock: VirtualClock, budget: Budget, venue: Venue, plan: Plan) -> None:
        self._session = session
        self._clock = clock
        self._budget = budget
        self._venue = venue
        self._plan = plan
        self._broker = venue.broker
        self._chance = random.Random(f"wire {seed} {clock.true}")
        self.calls: list[datetime] = []  # order calls that left, true time

    # --- orders -----------------------------------------------------------------------------------------------------------------------

    def place(self, order: Order) -> str:
        reason = self._broker.spec.objection(order.horizon, order.instrument)
        if reason:
            raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
        return self._order("place", order, lambda: self._venue.place(order))

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        self._order("modify", order, lambda: self._venue.modify(order, quantity, limit_price, trigger_price))

    def cancel(self, order: Order) -> None:
        self._order("cancel", order, lambda: self._venue.cancel(order))

    def _order(self, kind: str, order: Order, do: Callable[[], str]) -> str:
        lane = Lane.CANCEL if kind == "cancel" else Lane.ENTRY if is_entry(order) else Lane.EXIT
        self._budget.acquire(lane, kind, patience=2.0 if lane is Lane.ENTRY else 60.0)
        token = self._session.token()
        departure = mine()
        if departure is not None and not departure.allowed():
            raise NeverSent(f"{order.tag} was called off")
        self.calls.append(self._clock.true)
        struck = self._plan.strike("kill_at_send", self._clock.true)
        when = struck.chance.choice((0, 1, 2)) if struck is not None else None
        if when == 0:
            raise Killed
        return self._call(kind, token, do, fate_of_order(kind, self._plan, self._clock, self._chance, self._broker), ORDER_S, Unknown, when)

    # --- triggers over the night ------------------------------------------------------------------------------------------------------

    def place_guard(self, guard: Guard, last_price: float) -> str:
        return self._guard(lambda: self._venue.set_guard(guard))

    def cancel_guard(self, guard: Guard) -> None:
        self._guard(lambda: self._venue.delete_guard(guard.id))

    def guards(self) -> tuple[Guard, ...]:
        return self._read("guards", lambda: tuple(self._venue.guards.values()))

    def _guard(self, do: Callable[[], str]) -> str:
        self._budget.acquire(Lane.EXIT, "other")
        fate = fate_of_read(self._plan, self._clock, self._chance)
        return self._call("other", self._session.token(), do, fate, ORDER_S, Unknown)

    # --- reads ------------------------------------------------------------------------------------------------------------------------

    def orders(self) -> tuple[OrderUpdate, ...]:
        rows = self._read("orders", lambda: self._venue.orders(self._as_of("books_lag")))
        if self._plan.active("row_missing", self._clock.true) and rows:
            newest = max(rows, key=lambda row: row.broker_order_id)
            rows = tuple(row for row in rows if row is not newest)
        return rows

    def trades(self) -> tuple[Trade, ...]:
        return self._read("trades", lambda: self._venue.trades(min(self._as_of("books_lag"), self._as_of("trades_lag"))))

    def positions(self) -> tuple[BrokerPosition, ...]:
        rows = self._read("positions", lambda: self._venue.positions(min(self._as_of("books_lag"), self._as_of("positions_lag"))))
        return () if self._plan.active("positions_empty", self._clock.true) else rows

    def funds(self) -> Funds:
        if self._plan.active("funds_fail", self._clock.true):
            raise Transient("the margin service is down")
        return self._read("funds", self._venue.funds)

    def _as_of(self, kind: str) -> datetime:
        """As of when the books are shown: now, or as they stood a while ago."""
        stale = self._plan.active("books_stale", self._clock.true)
        if stale is not None:
            stale.struck += 1
            return stale.start
        fault = self._plan.active(kind, self._clock.true)
        if fault is None:
            return self._clock.true - timedelta(seconds=self._venue.book_lag_s)
        fault.struck += 1
        lag = fault.values.setdefault("lag", fault.chance.uniform(2.0, 60.0))
        return self._clock.true - timedelta(seconds=lag)

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        found = self._read(
            "candles", lambda: self._venue.market.candles(instrument.key, start.astimezone(IST), end.astimezone(IST), interval)
        )
        step = timedelta(minutes=interval)
        return [Bar(instrument, at, at + step, interval, o, max(o, h, c), min(o, low, c), c, v, oi) for at, o, h, low, c, v, oi in found]

    def instruments(self) -> bytes:
        raise Transient("today's instruments are on disk already")

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        return self._read("last_prices", lambda: {one.key: self._venue.market.price(one.key, self._clock.true) for one in instruments})

    def profile(self) -> Mapping[str, Any]:
        return self._read("profile", lambda: {"user_id": self._broker.user})

    def _read(self, what: str, ask: Callable[[], T]) -> T:
        kind, requests = self._broker.read(what)
        for _ in range(requests or self._venue.fresh_fills()):
            self._budget.acquire(Lane.PORTFOLIO, kind)
        token = self._session.token()
        fate = fate_of_read(self._plan, self._clock, self._chance)
        return self._call(kind, token, ask, fate, READ_S, Transient)

    # --- one call -----------------------------------------------------------------------------------------------------------------------

    def _call(
        self, kind: str, token: str, do: Callable[[], T], fate: Fate, patience: float, lost: type[BrokerError], kill: int | None = None
    ) -> T:
        """Send, wait for the reply or lose patience. What was sent arrives although we die."""
        clock, box = self._clock, list[tuple[T | None, BrokerError | None]]()

        def reply(result: T | None, error: BrokerError | None) -> None:
            if fate.reply is not None:
                clock.after(fate.reply, lambda: box.append((result, error)))

        def arrive() -> None:
            result: T | None = None
            error = fate.error
            try:
                self._venue.check(token)
                self._venue.advance()
                result = do()
            except BrokerError as refusal:
                error = error or refusal
            reply(result, error)

        if fate.arrive is not None:
            clock.after(fate.arrive, arrive)
        else:
            reply(None, fate.error)
        if kill == 1:
            raise Killed
        if not clock.wait_for(lambda: bool(box), clock.monotonic() + patience):
            raise lost(f"no answer within {patience:g} s")
        if kill == 2:
            raise Killed
        result, error = box[0]
        if isinstance(error, SessionExpired):
            self._session.invalidate(token, str(error))
        elif isinstance(error, RateLimited):
            self._budget.pause(2.0, kind)
        if error is not None:
            raise error
        assert result is not None
        return result


class SimFeed:
    """core.ports.Feed: connects, breaks, backs off, connects again."""

    counts: Mapping[str, int] = {}
    texts: Sequence[str] = ()

    def __init__(self, seed: int, account: str, session: TokenSource, clock: VirtualClock, put: Put, venue: Venue, plan: Plan) -> None:
        self._name = f"{account}/feed"
        self._session = session
        self._clock = clock
        self._put = put
        self._venue = venue
        self._plan = plan
        self._chance = random.Random(f"feed {seed} {clock.true}")
        self._stopped = False
        self._broken = ""
        self._connections = 0
        self._desired: set[str] = set()
        self._ticked: set[str] = set()  # since the present connection

    def start(self) -> None:
        self._clock.spawn(self._live)

    def stop(self) -> None:
        self._stopped = True
        self._broken = "stopped"
        self._venue.hear = None

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        self._desired.update(one.key for one in instruments)

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        self._desired.difference_update(one.key for one in instruments)

    @property
    def desired(self) -> frozenset[str]:
        return frozenset(self._desired)

    @property
    def confirmed(self) -> frozenset[str]:
        return frozenset(self._desired & self._ticked)

    def reconnect(self, reason: str) -> None:
        self._broken = reason

    @property
    def silent_for(self) -> float:
        return 0.0

    def _live(self) -> None:
        attempt = 0
        while not self._stopped:
            try:
                token = self._session.token()
            except SessionExpired as error:
                self._tell(False, str(error), 0)
                sleep(self._clock, 5.0)
                continue
            sleep(self._clock, self._chance.uniform(0.05, 0.3))
            if token in self._venue.dead:
                self._session.invalidate(token, "the stream refused it")
                continue
            attempt += 1
            if not self._cut() and not self._stopped:
                attempt = 0 if self._connected() > 10 else attempt
            self._tell(False, self._broken or "no connection", attempt)
            sleep(self._clock, min(30.0, 2.0 ** min(attempt, 6)) * self._chance.uniform(0.5, 1.0))

    def _cut(self) -> str:
        now = self._clock.true
        outage = self._plan.outage(now)
        polled = self._venue.broker.polls_s > 0  # a feed that asks is cut off with everything else that asks
        if self._plan.active("feed_drop", now) or (outage is not None and (polled or outage.kind != "rest_outage")):
            return "connection reset"
        return ""

    def _connected(self) -> float:
        """One connection; how long it lived."""
        clock, began = self._clock, self._clock.monotonic()
        self._broken = ""
        self._connections += 1
        self._ticked.clear()
        self._venue.hear = self._hear
        self._venue.struck = self._look
        self._look()
        self._tell(True, "", 0)
        clock.wait_for(lambda: bool(self._broken))
        self._venue.hear = self._venue.struck = None
        return clock.monotonic() - began

    def _look(self) -> None:
        """Some fault has begun, or the connection."""
        if self._cut():
            self._broken = "connection reset"
        elif self._plan.active("feed_mute", self._clock.true):
            connection = self._connections
            self._clock.after(SILENCE_S, lambda: self._silent(connection))

    def _silent(self, connection: int) -> None:
        if connection == self._connections and self._plan.active("feed_mute", self._clock.true):
            self._broken = f"silent for {SILENCE_S:g} s in market hours"

    def _hear(self, event: Event) -> None:
        if isinstance(event, Tick):
            self._ticked.add(event.instrument.key)
        self._put([event], self._name)

    def _tell(self, connected: bool, reason: str, attempt: int) -> None:
        self._put([FeedStatus(self._clock.now(), connected, reason, attempt)], self._name)
