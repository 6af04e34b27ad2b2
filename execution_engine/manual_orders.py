"""Orders a person gives by hand, under the strategy name `manual`: the same gate and desk as all others, and nothing chases them.

Rules:
1. The symbol is watched first; the gate is asked once its price is fresh, or after a few seconds, and its refusal is the answer.
2. MARKET becomes a limit at most the ladder's cap beyond the touched side. A LIMIT stays at the price the person gave.
3. What reduces the manual position is an exit, and never more than that position; turning round is two orders.
4. The answer comes when the order ends, or says PENDING after a few seconds. EXECUTED is said on evidence of the whole fill alone.
5. The key is latched from its birth: only a square-off, a kill or a loss lock acts on it, as on everything else that we own.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from core.errors import DataError, StoreError
from core.events import Command
from core.types import AccountKind, Horizon, Instrument, Order, OrderRequest, OrderState, OrderType, Purpose, Refused, Side
from execution_engine.buy_sell_logic import MANUAL, Quote, Target, capped_price
from execution_engine.engine import Engine
from execution_engine.order_state import IN_FLIGHT, TERMINAL

PRICE_WITHIN = timedelta(seconds=5)
END_WITHIN = timedelta(seconds=5)
HORIZONS: Mapping[str, Horizon] = {"MIS": Horizon.INTRADAY, "NRML": Horizon.CARRY, "CNC": Horizon.CARRY}
Answer = Callable[[str, bool, str, Any], None]  # command id, ok, text, data


class Market(Protocol):
    """Today's instruments, and the feed that may bring their prices."""

    def resolve(self, name: str) -> Instrument:
        """NIFTY_FUT, RELIANCE, NFO:NIFTY26NOVFUT as of today; DataError names the nearest."""
        ...

    def watch(self, instrument: Instrument) -> None:
        """Let its ticks come."""
        ...


class _Misuse(Exception):
    """An order that makes no sense as it was asked for; the text is the answer."""


class _Wish(msgspec.Struct):
    """One order asked for: unsent while `order_id` is empty; `until` is when waiting ends. `price` None means MARKET."""

    id: str
    instrument: Instrument
    side: Side
    quantity: int
    price: float | None
    horizon: Horizon
    until: datetime
    order_id: str = ""


class ManualOrders:
    """Takes `order` commands on the engine thread; `check` is called after each batch."""

    def __init__(self, answer: Answer, market: Market) -> None:
        self._answer = answer
        self._market = market
        self._wishes: list[_Wish] = []

    def take(self, engine: Engine, command: Command) -> None:
        """Begin with one `order` command; its answer follows, now or later."""
        try:
            wish = self._wish(engine, command)
        except (_Misuse, DataError) as error:
            self._refuse(engine, command.id, str(error))
            return
        self._market.watch(wish.instrument)
        self._wishes.append(wish)
        self.check(engine)

    def check(self, engine: Engine) -> None:
        """Send what can be sent, answer what is known."""
        now = engine.clock.now()
        for wish in list(self._wishes):
            if not wish.order_id and (now >= wish.until or _ready(engine, wish.instrument, now)):
                refused = self._send(engine, wish, now)
                if refused:
                    self._wishes.remove(wish)
                    self._refuse(engine, wish.id, refused)
                    continue
            if wish.order_id:
                order = engine.desk.get(wish.order_id)
                if order is None or order.state in TERMINAL or now >= wish.until:
                    self._wishes.remove(wish)
                    self._tell(wish, order)

    def _wish(self, engine: Engine, command: Command) -> _Wish:
        given = command.arguments
        _allowed(engine, given)
        try:
            side = Side(str(given.get("direction")).upper())
        except ValueError:
            raise _Misuse(f"direction {given.get('direction')!r} is neither BUY nor SELL") from None
        instrument = self._market.resolve(str(given.get("symbol")))
        return _Wish(
            command.id,
            instrument,
            side,
            _quantity(instrument, given.get("quantity"), given.get("lots")),
            _price(given.get("order_type"), given.get("price")),
            _horizon(str(given.get("product_type") or "MIS"), instrument),
            engine.clock.now() + PRICE_WITHIN,
        )

    def _send(self, engine: Engine, wish: _Wish, now: datetime) -> str:
        """Hand the order to gate and desk; why not, where it was refused."""
        request = _request(engine, wish, now)
        if isinstance(request, str):
            return request
        verdict = engine.gate.review(request, engine.world)
        if isinstance(verdict, Refused):
            return f"refused by {verdict.rule}: {verdict.reason}"
        wanted = wish.side.sign * wish.quantity
        engine.targets.keep(
            Target(
                MANUAL, request.name, wish.instrument, 0.0, wanted, wish.horizon, now, request.limit_price, why=request.why, latched=True
            )
        )
        try:
            engine.square_off.include(now.date(), wish.instrument)
            order = engine.desk.submit(verdict, now)
        except StoreError as error:
            return f"never sent: the ledger could not be written ({error})"
        wish.order_id, wish.until = order.id, now + END_WITHIN
        return ""

    def _refuse(self, engine: Engine, identity: str, why: str) -> None:
        engine.store.journal(engine.clock.now(), "refused", {"strategy": MANUAL, "name": "", "rule": "", "reason": why})
        self._answer(identity, False, why, result("REJECTED", error=why))

    def _tell(self, wish: _Wish, order: Order | None) -> None:
        told = result("UNKNOWN", error="the order is not among today's any more; look at `main.py orders`") if order is None else of(order)
        what = f"{wish.side} {wish.quantity} {wish.instrument.key}"
        self._answer(wish.id, told["success"], f"{what}: {told['status']} {told['error']}".strip(), told)


def result(status: str, *, error: str = "", order_id: str | None = None, price: float | None = None, filled: int = 0) -> dict[str, Any]:
    """What place_order returns. `success`: the order was filled, or stands at the broker (PENDING)."""
    return {
        "success": status in ("EXECUTED", "PENDING"),
        "status": status,
        "order_id": order_id,
        "execution_price": price,
        "filled": filled,
        "error": error,
    }


def of(order: Order) -> dict[str, Any]:
    """An order in the words of place_order; `order_id` is the broker's, ours until there is one."""
    status, error = "PENDING", ""
    if order.state is OrderState.FILLED:
        status = "EXECUTED"
    elif order.state in TERMINAL:
        status = "REJECTED"
        error = order.reason or "no reason given"
        if order.state is not OrderState.REJECTED:
            error = f"{order.state} with {order.filled} of {order.quantity} filled: {error}"
    elif order.state in IN_FLIGHT:
        status, error = "UNKNOWN", f"no answer yet ({order.state}): look at `main.py orders` before you send another"
    price = order.average_price if order.filled else None
    return result(status, error=error, order_id=order.broker_order_id or order.id, price=price, filled=order.filled)


def _allowed(engine: Engine, given: Mapping[str, Any]) -> None:
    """The account that trades here is the one the person means."""
    account, broker = engine.account, given.get("broker")
    if broker not in (None, account.broker):
        raise _Misuse(f"the account in use, {account.name}, is at {account.broker}, not at {broker}")
    if account.kind is AccountKind.LIVE and not given.get("live"):
        raise _Misuse(f"the account in use, {account.name}, trades real money: say live=True if that is meant")
    if given.get("live") and account.kind not in (AccountKind.LIVE, AccountKind.PRACTICE_LIVE):
        raise _Misuse(f"live=True, but the account in use, {account.name}, is of kind {account.kind}: stop its daemon, or leave live out")


def _quantity(instrument: Instrument, quantity: Any, lots: Any) -> int:
    if (quantity is None) == (lots is None):
        raise _Misuse(f"give either quantity (units) or lots; the lot of {instrument.key} is {instrument.lot}")
    count = quantity if lots is None else lots
    if type(count) is not int or count < 1:
        raise _Misuse(f"{'quantity' if lots is None else 'lots'} {count!r} is not a whole number from 1 on")
    if lots is not None:
        return int(lots) * instrument.lot
    if count % instrument.lot:
        near = max(1, round(count / instrument.lot))
        raise _Misuse(
            f"quantity {count} is no multiple of the lot {instrument.lot} of {instrument.key}: quantity counts units, so "
            f"quantity={near * instrument.lot} or lots={near}"
        )
    return int(count)


def _price(order_type: Any, price: Any) -> float | None:
    kind = str(order_type or ("MARKET" if price is None else "LIMIT")).upper()
    if kind == "MARKET":
        return None
    if kind != "LIMIT":
        raise _Misuse(f"order_type {order_type!r} is not taken here: MARKET or LIMIT (a stop belongs to a strategy's `stop`)")
    if isinstance(price, bool) or not isinstance(price, int | float):
        raise _Misuse(f"a LIMIT order needs a price in rupees, got {price!r}")
    return float(price)


def _horizon(product: str, instrument: Instrument) -> Horizon:
    name = product.upper()
    if name not in HORIZONS:
        raise _Misuse(f"product_type {product!r} is none of MIS (flat today), NRML (carried derivatives), CNC (carried shares)")
    wrong = "NRML" if instrument.expiry is None else "CNC"
    if name == wrong:
        raise _Misuse(f"product_type {name} does not fit {instrument.key}: use MIS or {'CNC' if wrong == 'NRML' else 'NRML'}")
    return HORIZONS[name]


def _ready(engine: Engine, instrument: Instrument, now: datetime) -> bool:
    """Whether waiting longer could not make the gate's answer any better."""
    world = engine.world
    if not world.calendar.is_open(instrument, now):
        return True
    age = world.received_age(instrument)
    return world.blind is None and world.feed_stale is None and age is not None and age <= engine.gate.settings.stale_after


def _request(engine: Engine, wish: _Wish, now: datetime) -> OrderRequest | str:
    """The request for the gate, or why there can be none."""
    instrument, side, world = wish.instrument, wish.side, engine.world
    held = world.position(MANUAL, instrument)
    reduces = held * side.sign < 0
    known = engine.targets.get(MANUAL, instrument.key)
    if known is not None and not known.by_hand and (held or engine.desk.working(MANUAL, instrument.key)):
        return f"{MANUAL} is being closed in {instrument.key} ({known.why}); wait until it is flat"
    if reduces and wish.quantity > abs(held):
        return f"{MANUAL} holds {held} of {instrument.key}: {side} at most {abs(held)} to close it, and open the other side after that"
    lacking = engine.reconciliation.shortfall(MANUAL, instrument) * (1 if held > 0 else -1)
    if reduces and wish.quantity > abs(held) - max(0, lacking):
        return f"the broker shows {lacking} less of {instrument.key} than {MANUAL} holds: {side} {wish.quantity} would open the other side"
    for position in engine.portfolio.positions():
        same = position.quantity and (position.strategy, position.instrument.key) == (MANUAL, instrument.key)
        if same and position.horizon is not wish.horizon:
            return f"{MANUAL} holds {position.quantity} of {instrument.key} as {position.product}: use the same product_type"
    price, tick = wish.price, world.ticks.get(instrument.key)
    if price is None:
        if tick is None:
            return f"no price of {instrument.key} within {PRICE_WITHIN.seconds} s; is its market open?"
        price = capped_price(side, instrument, Quote(tick.price, tick.bid, tick.ask), engine.price_ladder.settings.cap_pct)
    return OrderRequest(
        strategy=MANUAL,
        name=instrument.key,
        instrument=instrument,
        side=side,
        quantity=wish.quantity,
        order_type=OrderType.LIMIT,
        horizon=wish.horizon,
        purpose=Purpose.EXIT if reduces else Purpose.ENTRY,
        limit_price=price,
        at=now,
        why="by hand",
    )
