"""What we own, by strategy: each execution booked once, positions at average price, money in whole paise.

1. A trade is known by (instrument, day, side, trade id) and booked once, whoever tells of it and however often.
2. Average-price method: what a closing slice cost is its share of the open cost, in whole paise; the last slice takes the remainder, so
   a round trip realises exactly what was received less what was paid.
3. A fill's charges are those of its order so far with it, less those without it, each rounded to the paisa.
4. Every sub-account keeps two costs: since it was opened, and since the session began (carried positions start at that session's base
   price). P&L of the day uses the second.
5. What opposes us from outside closes ours first (ADOPTED); the rest is EXTERNAL: shown, counted in exposure, never traded, no P&L of ours.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

import msgspec

from core.events import Trade
from core.types import Fill, Horizon, Instrument, Order, Position, Side
from execution_engine.costs import Cost
from execution_engine.trades import Trades

EXTERNAL = "EXTERNAL"
"""The sub-account of what the account holds and we do not own (holdings, manual trades, other tools)."""

TOGETHER = 256  # fills taken into the digest at once

ADOPTED = "ADOPTED"
"""Marks the order id of a foreign fill that closed a position of ours: `ADOPTED:PRODUCT:BROKER_ORDER_ID`."""


class HasTotal(Protocol):
    @property
    def total(self) -> float: ...


class OrderCharges(Protocol):
    """All charges of one order so far, in rupees (execution_engine.charges.Charges is the real one)."""

    def order_charges(
        self, instrument: Instrument, horizon: Horizon, side: Side, trades: Sequence[tuple[int, float]], day: date
    ) -> HasTotal: ...


class Adjustment(msgspec.Struct, frozen=True):
    """A typed change of a position that no trade explains: the broker's net was adopted. Never a fill. `quantity` is the signed change."""

    strategy: str
    instrument: Instrument
    product: str
    quantity: int
    price: float
    at: datetime
    why: str


class _Sums:
    """Paise over some holdings: the day's realised + unrealised - charges, and what is at stake, gross."""

    __slots__ = ("gross", "net")

    def __init__(self) -> None:
        self.net = self.gross = 0


class _Holding:
    """One sub-account in one (instrument, product)."""

    __slots__ = ("charges", "counted", "day_charges", "day_cost", "horizon", "instrument", "known", "life", "product", "strategy")

    def __init__(self, strategy: str, instrument: Instrument, product: str, horizon: Horizon) -> None:
        self.strategy = strategy
        self.instrument = instrument
        self.product = product
        self.horizon = horizon
        self.life = Cost()
        self.day_cost = Cost()
        self.charges = 0
        self.day_charges = 0
        self.known: Position | None = None  # as last told; None since something changed
        self.counted = (0, 0)  # what of it is in the sums: net, gross


class _Line:
    """What of one order has been booked: units, their worth in rupees per unit multiplier, charges, and units priced without a trade."""

    __slots__ = ("charged", "quantity", "untold", "worth")

    def __init__(self) -> None:
        self.quantity = 0
        self.worth = 0.0
        self.charged = 0
        self.untold = 0


class Portfolio:
    """The positions and the P&L of one account. The engine thread owns it."""

    def __init__(self, account: str, charges: OrderCharges) -> None:
        self._account = account
        self._charges = charges
        self._holdings: dict[tuple[str, str, str], _Holding] = {}
        self._by_instrument: dict[str, list[_Holding]] = {}
        self._quantities: dict[tuple[str, str], int] = {}
        self.unsaved: dict[tuple[str, str, str], _Holding] = {}  # what `changed` will give
        self._positions: Sequence[Position] | None = None  # None since one of them changed
        self._open: dict[str, float] = {}  # key of an instrument that is held -> how many rupees one rupee of its price makes of ours
        self.moved = True  # whether a fill or a price may have changed the day's result since the last sample
        self.room = 0.0  # rupees that prices may take before a limit of the day's loss is to be looked at; 0 at most: now
        self._total = _Sums()  # of all ours
        self._sums: dict[str, _Sums] = {EXTERNAL: _Sums()}  # by strategy
        self._stale: set[str] = set()  # keys of instruments whose price or holdings the sums do not know yet
        self.trades = Trades()
        self._lines: dict[str, _Line] = {}  # orders of this session
        self._seen: set[tuple[str, date, Side, str]] = set()  # trades of this session
        self._traded: set[str] = set()  # keys of instruments in which something was booked in this session
        self._marks: dict[str, float] = {}
        self._day: date | None = None
        self._digest = hashlib.sha256()
        self._undigested: list[Fill] = []
        self._curve: list[tuple[datetime, int]] = []
        self._peak = 0
        self._drawdown = 0

    # --- booking ---------------------------------------------------------------------------------------------------------------------

    def book(self, order: Order, trade: Trade) -> Fill | None:
        """Book one execution of our order; None if it was booked before, by its id or as part of what an order row told."""
        if self._known(trade):
            return None
        quantity = trade.quantity
        line = self._lines.get(order.id)
        if line is not None and line.untold:
            told = min(line.untold, quantity)
            line.untold -= told
            quantity -= told
        if quantity == 0:
            return None
        return self._book(order, trade.id, quantity, trade.price, trade.at)

    def book_total(self, order: Order, filled: int, average_price: float, at: datetime) -> Fill | None:
        """Book what the order row says was filled and no trade has told, at (average x filled - booked) / difference.

        None if nothing lacks. Trades that come later for the same units are recognised and not booked again.
        """
        line = self._lines.setdefault(order.id, _Line())
        quantity = filled - line.quantity
        if quantity <= 0:
            return None
        price = round((average_price * filled - line.worth) / quantity, 4)
        if price <= 0:  # an average that contradicts the slices already told
            price = average_price
        line.untold += quantity
        return self._book(order, f"{order.id}@{filled}", quantity, price, at)

    def book_foreign(self, trade: Trade, product: str, horizon: Horizon) -> tuple[Fill, ...]:
        """Book a trade that is not ours: what opposes ours closes ours first (order id `ADOPTED:...`), the rest is EXTERNAL."""
        if self._known(trade):
            return ()
        fills = []
        for part, (strategy, quantity) in enumerate(self._split(trade.instrument, product, trade.side.sign * trade.quantity)):
            word = EXTERNAL if strategy == EXTERNAL else ADOPTED
            fill = Fill(
                id=trade.id if part == 0 else f"{trade.id}/{part}",
                order_id=f"{word}:{product}:{trade.broker_order_id}",
                account=self._account,
                strategy=strategy,
                instrument=trade.instrument,
                side=trade.side,
                quantity=abs(quantity),
                price=trade.price,
                at=trade.at,
                charges=self._charge(trade.broker_order_id, trade.instrument, horizon, trade.side, abs(quantity), trade.price, trade.at),
            )
            self._enter(fill, product, horizon)
            fills.append(fill)
        return tuple(fills)

    def adopt(self, instrument: Instrument, product: str, quantity: int, price: float, at: datetime, why: str) -> tuple[Adjustment, ...]:
        """Make the net equal to the broker's signed `quantity` by typed adjustments: against ours first, the rest EXTERNAL."""
        adjustments = []
        for strategy, change in self._split(instrument, product, quantity - self.net(instrument, product)):
            holding = self._holding(strategy, instrument, product, Horizon.CARRY)
            self._move(holding, change, price)
            adjustments.append(Adjustment(strategy, instrument, product, change, price, at, why))
        self.trades.agree(self.positions())
        return tuple(adjustments)

    def open_in(self, instrument: Instrument) -> list[tuple[str, str, int]]:
        """(sub-account, product, signed change to flat) of each that holds something of it, EXTERNAL included, by name."""
        held = sorted(self._by_instrument.get(instrument.key, ()), key=lambda one: (one.strategy, one.product))
        return [(one.strategy, one.product, -one.life.quantity) for one in held if one.life.quantity]

    def settle(self, strategy: str, instrument: Instrument, product: str, price: float, charges: int) -> None:
        """The contract expired: the sub-account is flat at `price`, `charges` (paise) are owed for it. A typed adjustment, never a fill."""
        holding = self._holdings[strategy, instrument.key, product]
        holding.charges += charges
        holding.day_charges += charges
        self._touch()
        self._move(holding, -holding.life.quantity, price)

    def adjust_charges(self, order: Order, paise: int) -> None:
        """The broker takes `paise` more for this order than we thought. A typed adjustment, never a fill."""
        holding = self._holding(order.strategy, order.instrument, order.product, order.horizon)
        holding.charges += paise
        holding.day_charges += paise
        self._lines.setdefault(order.id, _Line()).charged += paise
        self.unsaved[order.strategy, order.instrument.key, order.product] = holding
        self._altered(holding)

    def charged(self, order_id: str) -> int:
        """Paise of charges booked for this order in this session."""
        line = self._lines.get(order_id)
        return line.charged if line is not None else 0

    def traded(self, instrument: Instrument) -> bool:
        """Whether any execution in it has been booked in this session, ours or not."""
        return instrument.key in self._traded

    def booked(self, order_id: str) -> int:
        """Units booked for this order in this session."""
        line = self._lines.get(order_id)
        return line.quantity if line is not None else 0

    def _known(self, trade: Trade) -> bool:
        key = (trade.instrument.key, trade.at.date(), trade.side, trade.id)
        if key in self._seen:
            return True
        self._seen.add(key)
        return False

    def _book(self, order: Order, trade_id: str, quantity: int, price: float, at: datetime) -> Fill:
        fill = Fill(
            id=trade_id,
            order_id=order.id,
            account=self._account,
            strategy=order.strategy,
            instrument=order.instrument,
            side=order.side,
            quantity=quantity,
            price=price,
            at=at,
            charges=self._charge(order.id, order.instrument, order.horizon, order.side, quantity, price, at),
        )
        self._enter(fill, order.product, order.horizon)
        return fill

    def _charge(
        self, order_id: str, instrument: Instrument, horizon: Horizon, side: Side, quantity: int, price: float, at: datetime
    ) -> int:
        line = self._lines.get(order_id)
        if line is None:
            line = self._lines[order_id] = _Line()
        line.quantity += quantity
        line.worth += quantity * price
        total = self._charges.order_charges(instrument, horizon, side, ((line.quantity, line.worth / line.quantity),), at.date()).total
        before, line.charged = line.charged, round(total * 100)
        return line.charged - before

    def _enter(self, fill: Fill, product: str, horizon: Horizon) -> None:
        self._traded.add(fill.instrument.key)
        holding = self._holding(fill.strategy, fill.instrument, product, horizon)
        holding.charges += fill.charges
        holding.day_charges += fill.charges
        self._move(holding, fill.side.sign * fill.quantity, fill.price)
        self._undigested.append(fill)
        if len(self._undigested) >= TOGETHER:
            self._take_into_digest()
        self.trades.book(fill)

    def _move(self, holding: _Holding, quantity: int, price: float) -> None:
        instrument = holding.instrument
        value = round(quantity * price * instrument.multiplier * 100)
        holding.life.add(quantity, value)
        holding.day_cost.add(quantity, value)
        key = (holding.strategy, instrument.key)
        self._quantities[key] = self._quantities.get(key, 0) + quantity
        self.unsaved[holding.strategy, instrument.key, holding.product] = holding
        self._marks.setdefault(instrument.key, price)
        self._altered(holding)

    def _holding(self, strategy: str, instrument: Instrument, product: str, horizon: Horizon) -> _Holding:
        """The sub-account, about to be altered."""
        key = (strategy, instrument.key, product)
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = _Holding(strategy, instrument, product, horizon)
            self._by_instrument.setdefault(instrument.key, []).append(holding)
        if holding.life.quantity == 0:
            holding.horizon = horizon
        return holding

    def _split(self, instrument: Instrument, product: str, change: int) -> list[tuple[str, int]]:
        """How a signed change from outside falls on the sub-accounts: ours that it opposes, by name, then EXTERNAL."""
        parts, sign, rest = [], 1 if change > 0 else -1, abs(change)
        for holding in sorted(self._by_instrument.get(instrument.key, ()), key=lambda held: held.strategy):
            if rest and holding.strategy != EXTERNAL and holding.product == product and holding.life.quantity * sign < 0:
                taken = min(rest, abs(holding.life.quantity))
                parts.append((holding.strategy, sign * taken))
                rest -= taken
        if rest:
            parts.append((EXTERNAL, sign * rest))
        return parts

    # --- what is held ----------------------------------------------------------------------------------------------------------------

    def mark(self, instrument: Instrument, price: float) -> None:
        """Take the last price, in rupees."""
        key = instrument.key
        weight = self._open.get(key)
        if weight is not None:
            self.moved = True
            self._stale.add(key)
            before = self._marks.get(key)
            self.room = self.room - weight * abs(price - before) if before is not None else 0.0
        self._marks[key] = price

    def position(self, strategy: str, instrument: Instrument) -> int:
        """Signed units that `strategy` owns in the instrument, over all products."""
        return self._quantities.get((strategy, instrument.key), 0)

    def products(self, strategy: str, instrument: Instrument) -> list[str]:
        """The products in which `strategy` holds something of the instrument: one, but for what was taken up from elsewhere."""
        held = self._by_instrument.get(instrument.key, ())
        return [holding.product for holding in held if holding.strategy == strategy and holding.life.quantity]

    def horizon(self, strategy: str, instrument: Instrument) -> Horizon | None:
        """The horizon of what `strategy` holds in the instrument; None: it holds nothing."""
        for holding in self._by_instrument.get(instrument.key, ()):
            if holding.strategy == strategy and holding.life.quantity:
                return holding.horizon
        return None

    def owned(self, instrument: Instrument, product: str) -> int:
        """Signed units of all our strategies (EXTERNAL left out)."""
        held = self._by_instrument.get(instrument.key, ())
        return sum(holding.life.quantity for holding in held if holding.product == product and holding.strategy != EXTERNAL)

    def net(self, instrument: Instrument, product: str) -> int:
        """Signed units with EXTERNAL: what the broker should show."""
        held = self._by_instrument.get(instrument.key, ())
        return sum(holding.life.quantity for holding in held if holding.product == product)

    def on_side(self, instrument: Instrument, side: Side) -> int:
        """Units (0 or more) that sub-accounts, EXTERNAL too, hold on this side, over all products; nothing is netted."""
        units, sign = 0, side.sign
        for holding in self._by_instrument.get(instrument.key, ()):
            units += max(0, holding.life.quantity * sign)
        return units

    def positions(self) -> Sequence[Position]:
        """Every sub-account that holds something or was touched in this session; the same list until one changes, so leave it as it is."""
        if self._positions is None:
            self._positions = [holding.known or self._position(holding) for holding in self._holdings.values()]
        return self._positions

    def changed(self) -> list[Position]:
        """What changed since the last call, to be stored."""
        if not self.unsaved:
            return []
        changed = [holding.known or self._position(holding) for holding in self.unsaved.values()]
        self.unsaved.clear()
        return changed

    @property
    def flat(self) -> bool:
        """None of our strategies holds anything."""
        return not any(holding.life.quantity for holding in self._ours())

    def exposure(self, strategy: str | None = None) -> float:
        """Gross rupees at the last prices, of one sub-account or of all, EXTERNAL included; see risk.book.exposure."""
        gross = self._of_day(strategy).gross
        return (gross if strategy is not None else gross + self._sums[EXTERNAL].gross) / 100

    def rows(self) -> list[dict[str, Any]]:
        """Positions as the read-outs show them: rupees, `realised` and `unrealised` since the position was opened."""
        return [
            {
                "account": self._account,
                "instrument": holding.instrument.key,
                "product": holding.product,
                "strategy": holding.strategy,
                "quantity": holding.life.quantity,
                "average_price": round(holding.life.average(holding.instrument.multiplier), 4),
                "last_price": self._marks.get(holding.instrument.key),
                "realised": holding.life.realised / 100,
                "unrealised": (self._value(holding, holding.life.cost) - holding.life.cost) / 100,
            }
            for holding in self._holdings.values()
        ]

    def _position(self, holding: _Holding) -> Position:
        life, day = holding.life, holding.day_cost
        holding.known = Position(
            account=self._account,
            strategy=holding.strategy,
            instrument=holding.instrument,
            product=holding.product,
            quantity=life.quantity,
            average_price=life.average(holding.instrument.multiplier),
            realised=life.realised,
            charges=holding.charges,
            horizon=holding.horizon,
            cost=life.cost,
            day=self._day,
            day_cost=day.cost,
            day_realised=day.realised,
            day_charges=holding.day_charges,
        )
        return holding.known

    def _ours(self) -> Iterable[_Holding]:
        return (holding for holding in self._holdings.values() if holding.strategy != EXTERNAL)

    def _value(self, holding: _Holding, unmarked: int) -> int:
        """Paise at the last price; `unmarked` where none is known."""
        price = self._marks.get(holding.instrument.key)
        return unmarked if price is None else round(holding.life.quantity * price * holding.instrument.multiplier * 100)

    # --- the day ---------------------------------------------------------------------------------------------------------------------

    def pnl(self, strategy: str | None = None) -> dict[str, float]:
        """The day's {realised, unrealised, charges, net} in rupees, of ours or of one strategy. Charges are positive."""
        held = [one for one in self._holdings.values() if (one.strategy == strategy if strategy is not None else one.strategy != EXTERNAL)]
        realised, charges = sum(one.day_cost.realised for one in held), sum(one.day_charges for one in held)
        net = self.net_result(strategy)
        unrealised = net - realised + charges
        return {"realised": realised / 100, "unrealised": unrealised / 100, "charges": charges / 100, "net": net / 100}

    def net_result(self, strategy: str | None = None) -> int:
        """The day's realised + unrealised - charges in paise, of ours or of one strategy."""
        return self._of_day(strategy).net

    def _of_day(self, strategy: str | None) -> _Sums:
        """The sums of one strategy or of all ours."""
        if self._stale:
            self._reckon()
        return self._total if strategy is None else self._sums.get(strategy) or _Sums()

    def _reckon(self) -> None:
        """Bring the sums in step with what prices and fills have changed."""
        for key in self._stale:
            for holding in self._by_instrument.get(key, ()):
                self._count(holding)
        self._stale.clear()

    def _count(self, holding: _Holding) -> None:
        instrument, quantity, day = holding.instrument, holding.life.quantity, holding.day_cost
        unrealised = gross = 0
        if quantity:
            price = self._marks.get(instrument.key)
            if price is None:
                gross = abs(holding.life.cost)
            else:
                value = round(quantity * price * instrument.multiplier * 100)
                unrealised, gross = value - day.cost, abs(value)
            if quantity < 0 and instrument.strike is not None:  # a written option
                gross = max(gross, round(-quantity * instrument.strike * instrument.multiplier * 100))
        net = day.realised + unrealised - holding.day_charges
        net_before, gross_before = holding.counted
        holding.counted = (net, gross)
        sums = self._sums.get(holding.strategy)
        if sums is None:
            sums = self._sums[holding.strategy] = _Sums()
        for each in (sums, self._total) if holding.strategy != EXTERNAL else (sums,):
            each.net += net - net_before
            each.gross += gross - gross_before

    def _touch(self) -> None:
        self.moved = True
        self.room = 0.0
        self._positions = None

    def _altered(self, holding: _Holding) -> None:
        """Something of a sub-account is no longer what `positions` last told, nor what prices make of it."""
        key = holding.instrument.key
        holding.known = self._positions = None
        self._stale.add(key)
        self.moved, self.room = True, 0.0
        held, weight = False, 0.0
        for one in self._by_instrument.get(key, ()):
            if one.life.quantity:
                held = True
                if one.strategy != EXTERNAL:
                    weight += abs(one.life.quantity) * one.instrument.multiplier
        if held:
            self._open[key] = weight
        else:
            self._open.pop(key, None)

    def start_day(self, day: date, closes: Mapping[str, float] | None = None) -> None:
        """Begin a session: its P&L, charges, curve and drawdown start at 0, what ended flat before it is forgotten.

        A carried position is re-based at the previous close given in `closes` (rupees by instrument key), else at its last price.
        """
        self._day = day
        for holding in list(self._holdings.values()):
            if holding.life.quantity == 0:
                self._forget(holding)
            else:
                self._rebase(holding, (closes or {}).get(holding.instrument.key))
        self._lines.clear()
        self._seen.clear()
        self._traded.clear()
        self._curve.clear()
        self._peak = self._drawdown = 0
        self._touch()

    def sample(self, at: datetime) -> None:
        """Note the day's net P&L: the drawdown takes each sample, the curve one for each minute."""
        self.moved = False
        if self._stale:
            self._reckon()
        net = self._total.net
        if net > self._peak:
            self._peak = net
        elif self._peak - net > self._drawdown:
            self._drawdown = self._peak - net
        minute = at.replace(second=0, microsecond=0) if at.second or at.microsecond else at
        if self._curve and self._curve[-1][0] == minute:
            self._curve[-1] = (minute, net)
        else:
            self._curve.append((minute, net))

    @property
    def curve(self) -> list[tuple[datetime, float]]:
        """The day's net P&L in rupees, one point for each minute sampled (the engine samples when something moved)."""
        return [(at, net / 100) for at, net in self._curve]

    @property
    def max_drawdown(self) -> float:
        """Rupees, the largest fall of the day's net P&L from its peak (>= 0; the day starts at 0)."""
        return self._drawdown / 100

    def _rebase(self, holding: _Holding, close: float | None) -> None:
        if close is not None:
            self._marks[holding.instrument.key] = close
        base = self._value(holding, holding.life.cost)
        holding.day_cost = Cost(holding.life.quantity, base)
        holding.day_charges = 0
        self._altered(holding)
        self.unsaved[holding.strategy, holding.instrument.key, holding.product] = holding

    def _forget(self, holding: _Holding) -> None:
        key = holding.instrument.key
        self._holdings.pop((holding.strategy, key, holding.product))
        self.unsaved.pop((holding.strategy, key, holding.product), None)
        self._by_instrument[key].remove(holding)
        holding.day_cost, holding.day_charges = Cost(), 0
        self._count(holding)
        self._touch()

    # --- proof and recovery ------------------------------------------------------------------------------------------------------------

    def digest(self) -> str:
        """SHA-256 over the fills of the run in booking order; equal digests mean equal behaviour."""
        self._take_into_digest()
        return self._digest.hexdigest()

    def _take_into_digest(self) -> None:
        for fill in self._undigested:
            self._digest.update(_digest_line(fill))
        self._undigested.clear()

    def restore(self, positions: Sequence[Position], fills: Sequence[Fill], day: date) -> None:
        """Take up what was stored: the positions, and all fills of the run in booking order; `day` is today's session.

        A position stored in an earlier session is re-based at its own average until `start_day` is given better.
        """
        self._day = day
        for stored in positions:
            if stored.quantity == 0 and stored.day != day:
                continue
            holding = self._holding(stored.strategy, stored.instrument, stored.product, stored.horizon)
            holding.horizon = stored.horizon
            holding.life = Cost(stored.quantity, stored.cost, stored.realised)
            holding.charges = stored.charges
            if stored.day == day:
                holding.day_cost = Cost(stored.quantity, stored.day_cost, stored.day_realised)
                holding.day_charges = stored.day_charges
            else:
                self._rebase(holding, None)
            key = (stored.strategy, stored.instrument.key)
            self._quantities[key] = self._quantities.get(key, 0) + stored.quantity
            self._altered(holding)
        for fill in fills:
            self._digest.update(_digest_line(fill))
            self.trades.book(fill)
            if fill.at.date() == day:
                self._recall(fill)
        self.trades.agree(self.positions())

    def _recall(self, fill: Fill) -> None:
        """Know a fill of this session again: its trade, and how far its order has come."""
        foreign = fill.order_id.startswith((f"{ADOPTED}:", f"{EXTERNAL}:"))
        trade_id = fill.id.rsplit("/", 1)[0] if foreign else fill.id
        self._seen.add((fill.instrument.key, fill.at.date(), fill.side, trade_id))
        self._traded.add(fill.instrument.key)
        line = self._lines.setdefault(fill.order_id.rsplit(":", 1)[-1] if foreign else fill.order_id, _Line())
        line.quantity += fill.quantity
        line.worth += fill.quantity * fill.price
        line.charged += fill.charges
        if fill.id.startswith(f"{fill.order_id}@"):
            line.untold += fill.quantity


def _digest_line(fill: Fill) -> bytes:
    """One fill as the digest reads it."""
    price = round(fill.price * 100)
    at = fill.at.isoformat(timespec="seconds")
    return f"{at}|{fill.strategy}|{fill.instrument.key}|{fill.side}|{fill.quantity}|{price}|{fill.charges}\n".encode()
