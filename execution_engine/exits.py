"""How exits get through: tried again with a back-off, slowed when they do not settle, and kept from trading with ourselves.

Rules:
1. A failed exit is tried again after 1, 2, 4 ... 30 seconds until it is through; a warning at the third try, a page at the sixth. Nothing
   tries it before that. An exchange that stands still is asked once in 30 seconds: it refused an exit, and either no price comes or it
   had refused the one before. One that our own rate cap holds back has not failed: it takes its turn, a second later, and a person is
   paged when that has lasted for half a minute.
2. What waits for something (a cancel, evidence, a first price, the market to open) is looked at again every two seconds; overnight it
   rests until the next day opens.
3. More than ten exits of one key within a minute do not settle: a page, and then one every 30 seconds.
4. No self-trade: an exit waits while an order of ours rests where they would meet. An entry there is cancelled, an exit awaited; an
   order of unknown fate is neither, being flat outweighs what may not even exist.
5. An exit, or a cancellation in its way, that nobody confirms within ten seconds counts as unknown: it is not sent again, and a person is
   paged.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from core.ports import Clock
from core.types import Instrument, Order, OrderRequest, OrderState, Purpose
from execution_engine.buy_sell_logic import Target
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import Portfolio
from execution_engine.timers import Timers

A_MINUTE = 10
STANDSTILL_S = 30.0
STANDSTILL = timedelta(seconds=STANDSTILL_S)
NO_TIME = timedelta()
CONFIRMED_WITHIN = timedelta(seconds=10)
LOOK_AGAIN = timedelta(seconds=2)
TURN = timedelta(seconds=1.25)
TURNS = timedelta(seconds=30)  # without an end until a person is paged


class Exits:
    """Keeps, by key, how often an exit was tried and when. `cancel` is the engine's: cancel an order and let its key act again; `quiet`
    says whether no price of an instrument comes."""

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        desk: OrderDesk,
        portfolio: Portfolio,
        alert: Alert,
        cancel: Callable[[Order, str], None],
        quiet: Callable[[Instrument], bool] = lambda instrument: False,
    ) -> None:
        self._clock = clock
        self._timers = timers
        self._desk = desk
        self._portfolio = portfolio
        self._alert = alert
        self._cancel = cancel
        self._quiet = quiet
        self._not_before: dict[tuple[str, str], datetime] = {}
        self._late: set[str] = set()  # orders that were not confirmed in time, of which a person was told
        self._tries: dict[tuple[str, str], int] = {}
        self._sent: dict[tuple[str, str], deque[datetime]] = {}
        self._slowed: set[tuple[str, str]] = set()
        self._turns: tuple[datetime, datetime] | None = None  # the first and the latest exit of a row that our rate cap held back
        self._told_of_turns = False

    def lacking(self, target: Target) -> bool:
        """Whether part of what is held is to go and has not gone yet."""
        held = self._portfolio.position(target.strategy, target.instrument)
        return held != 0 and (target.closing or (target.wanted - held) * held < 0)

    def retry(self, target: Target, why: str, *, rejected: bool = False) -> None:
        """It failed (`rejected`: the broker or the exchange refused it): the next try comes by itself."""
        key = (target.strategy, target.name)
        tries = self._tries.get(key, 0) + 1
        self._tries[key] = tries
        standstill = rejected and (tries >= 2 or self._quiet(target.instrument))
        if tries in (3, 6) or (standstill and tries == 1):
            text = f"{target.strategy} {target.instrument.key}: {tries} tries failed, last: {why}"
            self._alert("page" if tries >= 6 else "warn", "Exit does not get through", text)
        wait = STANDSTILL_S if standstill else min(30.0, 2.0 ** min(tries - 1, 5))
        self._not_before[key] = self._clock.now() + timedelta(seconds=wait)
        self._timers.wait(_timer(target), self._clock.now(), timedelta(seconds=wait))

    def take_turn(self, target: Target, why: str, *, went: bool) -> None:
        """Our own rate cap holds it back, or (`went`) the rest of it: in a second there is room again."""
        now, sent = self._clock.now(), self._sent.get((target.strategy, target.name))
        if sent and not went:
            sent.pop()  # nothing left
        if self._turns is None or now - self._turns[1] > 4 * TURN:
            self._turns, self._told_of_turns = (now, now), False
        began, _ = self._turns = self._turns[0], now
        if now - began >= TURNS and not self._told_of_turns:
            self._told_of_turns = True
            text = f"since {began:%H:%M:%S}: {why} (risk.yaml); {target.strategy} {target.instrument.key} waits, and perhaps others"
            self._alert("page", "Exits wait for the rate cap", text)
        self._timers.wait(_timer(target), now, TURN)

    def forget_tries(self, strategy: str, name: str) -> None:
        """The strategy wants something else: the back-off begins anew."""
        self._tries.pop((strategy, name), None)
        self._not_before.pop((strategy, name), None)

    def look_again(self, target: Target) -> None:
        """It waits for something; a retry that is due anyway serves."""
        if self._timers.due(_timer(target)) is None:
            self._timers.wait(_timer(target), self._clock.now(), LOOK_AGAIN)

    def may_go(self, target: Target) -> bool:
        """Count one exit, or hold it back because this key's exits do not settle."""
        now, key = self._clock.now(), (target.strategy, target.name)
        left = self._not_before.get(key, now) - now
        if NO_TIME < left <= STANDSTILL:  # longer: our clock was set back, and nothing is waited for
            self._timers.wait(_timer(target), now, left)
            return False
        sent = self._sent.setdefault(key, deque(maxlen=A_MINUTE))
        if len(sent) < A_MINUTE or (now - sent[0]).total_seconds() >= 60:
            self._slowed.discard(key)
        elif (now - sent[-1]).total_seconds() < 30:
            if key not in self._slowed:
                self._slowed.add(key)
                self._alert("page", "Exits do not settle", f"{target.strategy} {target.instrument.key}: {A_MINUTE} in a minute")
            self._timers.wait(_timer(target), now, timedelta(seconds=30))
            return False
        sent.append(now)
        return True

    def way_is_clear(self, exit_: OrderRequest | Order) -> bool:
        """Whether nothing of ours rests where this exit would meet it (rule 4)."""
        if not self._desk.alive:
            return True
        met = [
            order
            for order in self._desk.live()
            if order.instrument.key == exit_.instrument.key
            and order.side is not exit_.side
            and order.state not in (OrderState.UNKNOWN, OrderState.TRIGGER_PENDING)
            and (order.purpose is not Purpose.PROTECT or order.state is OrderState.WORKING)  # behind its trigger it meets nobody
            and (exit_.limit_price - order.limit_price) * exit_.side.sign >= 0
        ]
        for order in met:
            if order.purpose is Purpose.ENTRY:
                self._cancel(order, "an exit of ours would trade with it")
        return not met

    def unconfirmed(self, orders: Sequence[Order], now: datetime) -> None:
        """Page for each order in the way of being flat that waits for a confirmation too long (rule 5)."""
        if not orders:
            self._late.clear()
            return
        late = {
            order.id: order
            for order in orders
            if (order.purpose is not Purpose.ENTRY or order.state is OrderState.PENDING_CANCEL)
            and now - order.updated_at >= CONFIRMED_WITHIN
        }
        for order in (late[name] for name in late.keys() - self._late):
            what = f"{order.side} {order.quantity} {order.instrument.key} ({order.tag}, {order.broker_order_id or 'no broker id'})"
            since = f"is {order.state} since {order.updated_at:%H:%M:%S}"
            rest = "it counts as unknown and is not sent again; look for it at the broker's terminal, and close by hand if it is not alive"
            text = f"{what} {since}: {rest}"
            self._alert("page", "An exit is not confirmed", text)
        self._late = set(late)


def _timer(target: Target) -> str:
    return f"retry|{target.strategy}|{target.name}"
