"""The compiled twin of a backtest on bars: one strategy, one instrument, flat every night, orders that meet the next bar.

It repeats what the engine does, in the engine's order; the suite compares the two, fill by fill:
1. A bar: what rests meets it (its open where the limit allows, else its limit; a bar that an order was born in shows it only its close).
   The fill is booked and charged, and the target acted on again. The close is the price; a stop or profit target may be reached.
   The strategy speaks; a changed target is sized, judged and sent; one that was refused for the time being is tried again.
2. The moment's end: the loss limits are looked at, an order that rested is cancelled (an entry) or moved (an exit), the square-off fires.
3. Money is whole paise by the same operations on the same floats as execution_engine's: charges.py, portfolio.py, round_trips.py.

Whatever it does not model (a partial fill, an order above the freeze quantity, a position that nobody closed, ...) ends it with the
number of the reason in `REASONS`: that run belongs to the engine. Between events it walks over closes alone, or over nothing where
nothing is held.
"""

from typing import Any

import numpy as np

from strategies.compiled import bare, ranging

Array = Any

REASONS = (
    "",
    "an order that a bar's volume filled in part",
    "an order above the freeze quantity",
    "a position that grew or shrank in part",
    "an exit after the broker's cut-off",
    "an exit that was moved too often",
    "something open at the end of a day",
    "money that just about covers an order",
)
PARTIAL, FREEZE, RESIZED, CLOSED, MOVED, OPEN, MONEY = range(1, 8)

ENTRY, EXIT = 1, 2
SILENT = -128
EIGHTFOLD = 0x0101010101010101
BLOCK = 64  # closes looked at together
END, CONSTANT, TURNOVER, ADD, SUBTRACT, MULTIPLY, DIVIDE, LEAST, LARGEST = range(9)
"""A brokerage formula as steps on a stack, (step, number) each."""
STEPS_OF_FORMULA, STACK = 16, 8

# One array of floats, Z, holds state, settings and the day's facts: the names below are places in it. Whole numbers in it (units, paise,
# microseconds) are exact, and passing one array costs a tenth of passing five.
_names = iter(range(1000))
POS, KIND, SIGN, QUANTITY, SINCE, UPDATED, MOVES, LIMIT = (next(_names) for _ in range(8))
"""What is held, and the one order there may be: KIND is 0, ENTRY or EXIT."""
HAS, RAW, WANTED, LATCHED, PENDING, CLOSING, STOP, TAKE = (next(_names) for _ in range(8))
"""The target, as execution_engine.buy_sell_logic.Target has it; NaN for no stop or profit target."""
LOCKED, REALISED, CHARGED, COST, BEGUN, ENDED, LOST, CASH, ENTRY_PRICE = (next(_names) for _ in range(9))
"""The day: entries locked; paise realised, charged, and what the open position cost; trades begun, when one ended (with a loss); the
running trade's cash, and the price it began at."""
MODE, HELD, TRADES, LONGS, SHORTS, TRAIL = (next(_names) for _ in range(6))
"""The strategy's own trade (strategies/one_trade.py): its direction, whether it was held, its stop; today's entries, and by direction."""
NOW, LAST, MAY_ENTER, MAY_LEAVE, RETRY = (next(_names) for _ in range(5))
"""The moment, the last price, whether entries and exits may be sent; an exit that waits for trading to go on."""
DAY_STATE = TRAIL + 1  # what is before it begins anew each day
WORTH, TOTAL, BOOKED, PEAK, DEEPEST, BAILED, DAY, FILLS = (next(_names) for _ in range(8))
"""Paise of the days before; paise realised since the beginning, and of it in earlier contracts; the best worth, and the deepest fall; why
it ended; the day's number; fills so far."""
FILLED, FILLED_AT, FILLED_CHARGES, FILLED_GROSS, DATED = (next(_names) for _ in range(5))
"""The latest fill: signed units, price, paise, and its date: a bar's start where it was its open, else its end."""
BY, SIZE, LOT, MULTIPLIER, TICK, SCALE, STOP_PCT, TAKE_PCT = (next(_names) for _ in range(8))
"""Settings: what SIZE counts (0 lots, 1 units, 2 rupees of value, 3 of risk); SCALE: 10 to the tick's decimals; NaN: no default."""
CAP, STEPS, STEP_US, TICKS, BPS, SPREAD = (next(_names) for _ in range(6))
"""The price ladder, and what a fill is worse by."""
MOST, COOL, COOL_LOSS, FLATTEN, LOSS, VALUE, UNITS, CAPITAL, RATE, LOW_RATE, LOW_PRICE, PAPER = (next(_names) for _ in range(12))
"""Risk. COOL: microseconds; LOSS: the net paise at which entries are locked; RATE: margin as a share of value, LOW_RATE below LOW_PRICE;
PAPER: the paper broker's."""
A_DAY, EACH_WAY, ALLOW_LONG, ALLOW_SHORT, TURNS, HOLDING = (next(_names) for _ in range(6))
"""What the strategy gave: strategies.frame.Trades, or (HOLDING) Holds."""
DAY_FACTS = next(_names)
FROM, TO, HEARD_FROM, HEARD_TO, SQUARE_OFF, SQUARE_ROW, CUT_OFF, ENTER_FROM, ENTER_UNTIL, LARGEST_ORDER, RATED = range(11)
"""A day: its rows of bars and of the strategy's bars; when the square-off begins, and the first bar that ends then or later; from when on
exits may be in vain; the rows outside of which no entry is taken; the freeze quantity; which of the rates are its own."""
OPEN_AT, HIGH, LOW, CLOSE, START, END_AT, VOLUME, GATES = range(8)
"""A bar, all of it in one line of the processor's cache: GATES is what may be sent at its end (ENTRY and EXIT bits)."""
CUT, LARGEST_UNITS = DAY_FACTS, DAY_FACTS + 1
RATES = DAY_FACTS + 2
STT, TXN, IPFT, SEBI, STAMP, GST, SEBI_TAXED, IPFT_TAXED, PER_LOT, LESSER, FRACTION, FORMULA = range(12)
"""The day's rates of one side. Brokerage is the smaller of LESSER and FRACTION of the turnover (NaN: of the formula that follows)."""
SIDE = FORMULA + 2 * STEPS_OF_FORMULA
"""Numbers for a side; those of a sale follow those of a purchase."""
PLACES = RATES + 2 * SIDE + STACK


@bare
def _rounded(price: float, tick: float, scale: float, side: float) -> float:
    """core.expiries.round_to_tick: down for 1, up for -1, to the nearest for 0."""
    steps = price / tick
    whole = np.rint(steps)
    if side != 0 and abs(steps - whole) >= 1e-6:
        whole = np.floor(steps) if side > 0 else np.ceil(steps)
    return float(np.rint(whole * tick * scale) / scale)


@bare
def _capped(Z: Array, side: float, last: float, pct: float) -> float:
    """buy_sell_logic.capped_price without a book."""
    price = last * (1 + side * pct / 100)
    return float(max(Z[TICK], _rounded(price, Z[TICK], Z[SCALE], side)))


@bare
def _brokerage(Z: Array, at: int, turnover: float) -> float:
    """The formula whose steps stand at this place."""
    stack = RATES + 2 * SIDE
    top = stack
    for row in range(at, at + 2 * STEPS_OF_FORMULA, 2):
        step = Z[row]
        if step == END:
            break
        if step == CONSTANT:
            Z[top] = Z[row + 1]
            top += 1
        elif step == TURNOVER:
            Z[top] = turnover
            top += 1
        else:
            top -= 1
            left, right = Z[top - 1], Z[top]
            if step == ADD:
                left = left + right
            elif step == SUBTRACT:
                left = left - right
            elif step == MULTIPLY:
                left = left * right
            elif step == DIVIDE:
                left = left / right
            elif step == LEAST:
                left = min(left, right)
            else:
                left = max(left, right)
            Z[top - 1] = left
    return float(Z[stack])


@bare
def _charges(Z: Array, quantity: float, price: float, at: int) -> float:
    """charges.Charges.for_value of one order filled at once, in paise, by the rates at this place."""
    value = quantity * (quantity * price / quantity) * Z[MULTIPLIER]
    least = Z[at + LESSER]
    brokerage = _brokerage(Z, at + FORMULA, value) if np.isnan(least) else min(least, Z[at + FRACTION] * value)
    brokerage += Z[at + PER_LOT] * quantity / Z[LOT]
    txn, ipft, sebi = value * Z[at + TXN], value * Z[at + IPFT], value * Z[at + SEBI]
    stt, stamp = value * Z[at + STT], value * Z[at + STAMP]
    gst = Z[at + GST] * (brokerage + txn + (sebi if Z[at + SEBI_TAXED] else 0.0) + (ipft if Z[at + IPFT_TAXED] else 0.0))
    return float(np.rint((brokerage + stt + txn + ipft + sebi + stamp + gst) * 100))


@bare
def _net(Z: Array) -> float:
    """portfolio.net_result: the day's paise, open positions at the last price."""
    net = Z[REALISED] - Z[CHARGED]
    if Z[POS] != 0:
        net += np.rint(Z[POS] * Z[LAST] * Z[MULTIPLIER] * 100) - Z[COST]
    return float(net)


@bare
def _latch(Z: Array) -> None:
    Z[WANTED], Z[LATCHED], Z[PENDING] = Z[POS], 1, 0


@bare
def _send_entry(Z: Array, side: float, quantity: float) -> None:
    """The gate's review of an entry, and the paper broker's."""
    net = _net(Z)
    if Z[LOCKED] == 0 and net <= Z[LOSS]:
        Z[LOCKED] = 1
    if Z[LOCKED]:
        _latch(Z)
        return
    if not Z[MAY_ENTER]:
        Z[PENDING] = 1
        return
    if Z[BEGUN] + 1 > Z[MOST]:
        _latch(Z)
        return
    ended = Z[LOST] if Z[COOL_LOSS] else Z[ENDED]
    if Z[COOL] > 0 and ended > 0 and Z[NOW] < ended + Z[COOL]:
        Z[PENDING] = 1
        return
    if quantity > Z[LARGEST_UNITS]:
        Z[BAILED] = FREEZE
        return
    price = _capped(Z, side, Z[LAST], Z[CAP] / Z[STEPS])
    worth = max(price, Z[LAST]) * quantity * Z[MULTIPLIER]
    value = price * quantity * Z[MULTIPLIER]
    needed = value * (Z[LOW_RATE] if price < Z[LOW_PRICE] else Z[RATE])
    if quantity > Z[UNITS] or worth > Z[VALUE] or needed > Z[CAPITAL] + min(0.0, net / 100):
        _latch(Z)
        return
    needed, free = Z[PAPER] * (quantity * price * Z[MULTIPLIER]), Z[CAPITAL] + Z[TOTAL] / 100
    if needed > free - 1.0 or needed > free - Z[BOOKED] / 100 - 1.0:  # BOOKED: realised in contracts that are gone
        Z[BAILED] = MONEY
        return
    Z[PENDING] = 0
    Z[KIND], Z[SIGN], Z[QUANTITY], Z[SINCE], Z[UPDATED], Z[MOVES] = ENTRY, side, quantity, Z[NOW], Z[NOW], 0
    Z[LIMIT] = price


@bare
def _act(Z: Array) -> None:  # noqa: C901 - the engine's one decision, in its order
    """engine.act: send what the target lacks."""
    if Z[HAS] == 0:
        return
    for _ in range(2):
        if Z[CLOSING] and Z[POS] == 0:
            Z[CLOSING] = 0
        if Z[LATCHED] and Z[WANTED] != 0 and Z[KIND] == 0:
            return
        wanted, held = (0.0 if Z[CLOSING] else Z[WANTED]), Z[POS]
        coming = Z[SIGN] * Z[QUANTITY] if Z[KIND] else 0.0
        if wanted == held + coming:
            return
        if Z[KIND]:
            towards = wanted - held
            if coming * towards < 0 or towards == 0 or abs(coming) > abs(towards):
                Z[KIND] = 0  # cancelled at once, and acted on again
                continue
            if held + coming != 0:
                Z[BAILED] = RESIZED
            return  # the exit before the entry on the other side
        if held == 0:
            _send_entry(Z, 1.0 if wanted > 0 else -1.0, abs(wanted))
        elif wanted * held > 0:
            Z[BAILED] = RESIZED
        elif not Z[MAY_LEAVE]:
            Z[RETRY] = 1
        elif Z[NOW] >= Z[CUT]:
            Z[BAILED] = CLOSED
        elif abs(held) > Z[LARGEST_UNITS]:
            Z[BAILED] = FREEZE
        else:
            side = -1.0 if held > 0 else 1.0
            Z[KIND], Z[SIGN], Z[QUANTITY], Z[SINCE], Z[UPDATED], Z[MOVES] = EXIT, side, abs(held), Z[NOW], Z[NOW], 0
            Z[LIMIT] = _capped(Z, side, Z[LAST], Z[CAP] / Z[STEPS])
        return


@bare
def _flatten(Z: Array) -> None:
    Z[WANTED], Z[LATCHED], Z[CLOSING], Z[PENDING] = 0, 1, 0, 0
    Z[STOP] = Z[TAKE] = np.nan
    _act(Z)


@bare
def _quantity(Z: Array, target: float, price: float, stop: float) -> float:
    """buy_sell_logic.quantity_for; 0 where it raises."""
    multiple = abs(target)
    if Z[BY] == 0:
        units = Z[SIZE] * Z[LOT] * multiple
    elif Z[BY] == 1:
        units = Z[SIZE] * multiple
    elif Z[BY] == 2:
        units = Z[SIZE] * multiple / (price * Z[MULTIPLIER])
    else:
        if np.isnan(stop) or stop == price:
            return 0.0
        units = Z[SIZE] * multiple / (abs(price - stop) * Z[MULTIPLIER])
    if not units <= 1e9:
        return 0.0
    whole = np.floor(np.floor(units + 1e-9) / Z[LOT]) * Z[LOT]
    return float(whole if target > 0 else -whole)


@bare
def _take_signal(Z: Array, target: float, stop: float, take: float) -> None:
    """engine.take_signal; NaN for a stop or profit target that is not given."""
    if (not np.isnan(stop) and not 0 < stop < np.inf) or (not np.isnan(take) and not 0 < take < np.inf):
        return
    if Z[HAS] and Z[RAW] == target:
        if not Z[LATCHED]:
            Z[STOP] = Z[STOP] if np.isnan(stop) else stop
            Z[TAKE] = Z[TAKE] if np.isnan(take) else take
        return
    if not Z[HAS] and target == 0:
        return
    price, wanted = Z[LAST], 0.0
    if target != 0:
        sign = 1.0 if target > 0 else -1.0
        if np.isnan(stop):
            stop = price * (1 - sign * Z[STOP_PCT] / 100)
        if np.isnan(take):
            take = price * (1 + sign * Z[TAKE_PCT] / 100)
        wanted = _quantity(Z, target, price, stop)
        if wanted == 0:
            return
    closing = Z[HAS] and (Z[CLOSING] or (Z[LATCHED] and Z[WANTED] == 0)) and Z[POS] != 0
    Z[HAS], Z[RAW], Z[WANTED], Z[LATCHED], Z[PENDING], Z[CLOSING] = 1, target, wanted, 0, 0, 1 if closing else 0
    Z[STOP], Z[TAKE] = (stop, take) if target != 0 else (np.nan, np.nan)
    _act(Z)


@bare
def _fill(Z: Array, price: float, volume: float) -> None:
    """The paper broker's fill, the portfolio's booking, and what the engine and the strategy make of it."""
    side, quantity = Z[SIGN], Z[QUANTITY]
    if 0 < volume < quantity:
        Z[BAILED] = PARTIAL
        return
    if price != Z[LIMIT]:  # paper_rules.FillRules.worsened
        points = Z[TICKS] * Z[TICK] + Z[BPS] * price / 10_000
        points += Z[SPREAD] * Z[TICK]
        if points > 0:
            paid = _rounded(price + side * points, Z[TICK], Z[SCALE], -side)
            price = min(paid, Z[LIMIT]) if side > 0 else max(paid, Z[LIMIT])
    charges = _charges(Z, quantity, price, RATES if side > 0 else RATES + SIDE)
    value = np.rint(side * quantity * price * Z[MULTIPLIER] * 100)
    worth = price * Z[MULTIPLIER] * 100
    Z[CHARGED] += charges
    if Z[POS] == 0:
        Z[COST], Z[BEGUN] = value, Z[BEGUN] + 1
        Z[CASH] = -np.rint(side * quantity * worth) - charges
        gross = 0.0
        Z[ENTRY_PRICE] = price * quantity / quantity
    else:
        Z[REALISED] -= value + Z[COST]
        Z[TOTAL] -= value + Z[COST]
        Z[COST] = 0
        Z[CASH] -= np.rint(side * quantity * worth) + charges
        Z[ENDED] = Z[DATED]
        if Z[CASH] < 0:
            Z[LOST] = Z[DATED]
        gross = np.rint((price - Z[ENTRY_PRICE]) * -side * quantity * Z[MULTIPLIER] * 100)
    Z[POS] += side * quantity
    Z[KIND] = 0
    Z[FILLED], Z[FILLED_AT], Z[FILLED_CHARGES], Z[FILLED_GROSS] = side * quantity, price, charges, gross
    if Z[POS] * Z[MODE] > 0:
        Z[HELD] = 1
    _act(Z)


@bare
def _say(Z: Array, enter: float, stop: float, take: float, leave: int, trail: float) -> None:
    """One bar of a strategy in one trade at a time: strategies/one_trade.py."""
    gone = False
    if Z[MODE] != 0:
        if Z[POS] * Z[MODE] > 0:
            Z[HELD] = 1
        else:
            gone = Z[HELD] == 1
        if gone:
            Z[MODE], Z[HELD] = 0, 0
            Z[TRAIL] = np.nan
            _take_signal(Z, 0.0, np.nan, np.nan)
            if not Z[TURNS]:
                return
    if enter != 0 and enter != Z[MODE] and (Z[TURNS] or Z[MODE] == 0):
        taken = Z[LONGS] if enter > 0 else Z[SHORTS]
        if (Z[ALLOW_LONG] if enter > 0 else Z[ALLOW_SHORT]) and Z[TRADES] < Z[A_DAY] and taken < Z[EACH_WAY]:
            Z[TRADES] += 1
            Z[LONGS if enter > 0 else SHORTS] += 1
            Z[MODE], Z[HELD] = enter, 0
            Z[TRAIL] = stop
            _take_signal(Z, enter, stop, take)
            return
    if Z[MODE] == 0:
        return
    if leave & (1 if Z[MODE] > 0 else 2):
        Z[MODE], Z[HELD] = 0, 0
        Z[TRAIL] = np.nan
        _take_signal(Z, 0.0, np.nan, np.nan)
    elif not np.isnan(trail) and (np.isnan(Z[TRAIL]) or (trail - Z[TRAIL]) * Z[MODE] > 0):
        Z[TRAIL] = trail
        _take_signal(Z, Z[MODE], trail, np.nan)


@bare
def _climb(Z: Array) -> None:
    """price_ladder.climb: an entry that rested for a bar is given up (its key latches), an exit is moved towards the market."""
    if Z[KIND] == 0 or Z[NOW] - Z[UPDATED] < Z[STEP_US]:
        return
    if Z[KIND] == ENTRY:
        Z[KIND] = 0
        _latch(Z)
        return
    price = _capped(Z, Z[SIGN], Z[LAST], Z[CAP] * min(Z[MOVES] + 2, 10) / Z[STEPS])
    if price != Z[LIMIT]:
        if Z[MOVES] >= 15 or not Z[MAY_LEAVE]:
            Z[BAILED] = MOVED
        Z[LIMIT] = price
        Z[SINCE], Z[UPDATED], Z[MOVES] = Z[NOW], Z[NOW], Z[MOVES] + 1


@bare
def _sample(Z: Array, net: float) -> None:
    worth = Z[WORTH] + net
    if worth >= Z[PEAK]:
        Z[PEAK] = worth
    elif Z[PEAK] - worth > Z[DEEPEST]:
        Z[DEEPEST] = Z[PEAK] - worth


@bare
def _next_said(said: Array, words: Array, raw: int, row: int, to: int) -> int:
    """The next of the strategy's bars on which it says something else; `words` are the same bytes, eight at a time."""
    same = (raw & 255) * EIGHTFOLD
    while row < to and (said[row] == raw or said[row] == SILENT):
        row += 1
        if row & 7 == 0:
            word, last = row >> 3, min(to >> 3, len(words))
            while word < last and words[word] == same:
                word += 1
            row = max(row, word << 3)
    return row


@ranging
def _range(close: Array, row: int, to: int) -> tuple[float, float]:
    """The lowest and the highest close; no NaN is among them, so that both come eight at a time."""
    lowest = highest = close[row]
    for at in range(row + 1, to):
        price = close[at]
        lowest = price if price < lowest else lowest
        highest = price if price > highest else highest
    return lowest, highest


@bare
def _walk_held(Z: Array, close: Array, row: int, to: int) -> int:
    """Over closes on which a position is only marked: the first row at which something is to be done, at most `to`."""
    held, multiplier = Z[POS], Z[MULTIPLIER]
    base, worth = Z[REALISED] - Z[CHARGED] - Z[COST], Z[WORTH]
    floor, ceiling = (Z[STOP], Z[TAKE]) if held > 0 else (Z[TAKE], Z[STOP])
    if np.isnan(floor):
        floor = -np.inf
    if np.isnan(ceiling):
        ceiling = np.inf
    loss = Z[LOSS] if Z[LOCKED] == 0 else -np.inf
    peak, deepest = Z[PEAK], Z[DEEPEST]
    while row < to:
        end = min(row + BLOCK, to)
        lowest, highest = _range(close, row, end)
        worst, best = (lowest, highest) if held > 0 else (highest, lowest)
        low_net = base + np.rint(held * worst * multiplier * 100)
        high_net = base + np.rint(held * best * multiplier * 100)
        if lowest > floor and highest < ceiling and low_net > loss and worth + high_net <= peak:
            deepest = max(deepest, peak - (worth + low_net))  # no new best among them: the worst decides
            row = end
            continue
        while row < end:
            price = close[row]
            net = base + np.rint(held * price * multiplier * 100)
            if price <= floor or price >= ceiling or net <= loss:
                Z[PEAK], Z[DEEPEST] = peak, deepest
                return row
            peak = max(peak, worth + net)
            deepest = max(deepest, peak - (worth + net))
            row += 1
    Z[PEAK], Z[DEEPEST] = peak, deepest
    return row


@bare
def sums(fills: Array, nets: Array, capital: float, found: Array) -> None:
    """Into `found`: paise of gross, charges, net and of what won; how many won; and of the days' returns the mean, the sum of the squares
    of what they are apart from it, and that of those below zero. Entries and exits take turns in `fills`; paise are whole, so exact."""
    for place in range(8):
        found[place] = 0.0
    for row in range(1, len(fills), 2):
        gross, charges = fills[row, 4], fills[row - 1, 3] + fills[row, 3]
        net = gross - charges
        found[0] += gross
        found[1] += charges
        found[2] += net
        if net > 0:
            found[3] += net
            found[4] += 1
    if len(nets) == 0:
        return
    for day in range(len(nets)):
        found[5] += nets[day] / 100 / capital
    found[5] /= len(nets)
    for day in range(len(nets)):
        one = nets[day] / 100 / capital
        found[6] += (one - found[5]) ** 2
        found[7] += min(one, 0.0) ** 2


@bare
def walk(  # noqa: C901 - one loop over bars, in the engine's order; handing arrays to functions costs more than what they do
    bars: Array, closes: Array, heard: Array, days: Array, rates: Array, said: Array, enter: Array, stop: Array, take: Array,
    leave: Array, trail: Array, Z: Array, fills: Array, nets: Array, held: Array,
) -> int:  # fmt: skip
    """Trade the days; returns why it ended (0: all is done).

    `bars` has a row for each bar, `closes` its closes once more, `heard` the row in which each of the strategy's bars is heard. `fills`
    gets date, units, price, charges and gross of each; `nets` (paise) and `held` (the moments at whose end something was held) are by day.
    """
    rated = -1
    words = said[: len(said) // 8 * 8].view(np.int64)
    for number in range(len(days)):
        first, last = days[number, FROM], days[number, TO]
        spoken, speaks_to = days[number, HEARD_FROM], days[number, HEARD_TO]
        squares, square_row = days[number, SQUARE_OFF], days[number, SQUARE_ROW]
        enter_from, enter_until = days[number, ENTER_FROM], days[number, ENTER_UNTIL]
        for place in range(DAY_STATE):
            Z[place] = 0.0
        Z[DAY], Z[RETRY], Z[CUT], Z[LARGEST_UNITS] = number, 0, days[number, CUT_OFF], days[number, LARGEST_ORDER]
        Z[STOP] = Z[TAKE] = Z[TRAIL] = np.nan
        if days[number, RATED] != rated:
            rated = days[number, RATED]
            for place in range(2 * SIDE):
                Z[RATES + place] = rates[rated, place]
        fired = False
        row = first
        while row < last:
            if Z[HOLDING] and Z[KIND] == 0 and Z[RETRY] == 0:  # walk to where something may happen
                spoken = _next_said(said, words, int(Z[RAW]), spoken, speaks_to)
                until = min(heard[spoken], last) if spoken < speaks_to else last
                if Z[POS] == 0:
                    if row >= enter_until:
                        until = last
                    elif Z[PENDING]:
                        until = min(until, max(row, enter_from)) if Z[COOL] == 0 else row
                    if until > row:
                        row = until
                        Z[LAST] = closes[row - 1]
                        continue
                    while Z[PENDING] and spoken > days[number, HEARD_FROM] and heard[spoken - 1] >= row:
                        spoken -= 1  # it tries again on each of its bars, whatever it says there
                elif not fired and Z[CLOSING] == 0 and Z[POS] == Z[WANTED]:
                    on = _walk_held(Z, closes, row, min(until, square_row))
                    held[number] += on - row
                    if on > row:
                        row = on
                        Z[LAST] = closes[row - 1]
                        continue
            bar = bars[row]
            end, close = bar[END_AT], bar[CLOSE]
            if not fired and squares < end:
                fired = True
                Z[MAY_ENTER], Z[MAY_LEAVE] = 0, 1
                Z[NOW] = squares if row == first else max(squares, bars[row - 1, END_AT])
                if Z[POS] != 0 or Z[KIND] != 0:
                    _flatten(Z)
            gates = int(bar[GATES])
            Z[NOW], Z[MAY_ENTER], Z[MAY_LEAVE] = end, gates & ENTRY, gates & EXIT
            Z[LAST] = close
            if Z[KIND] != 0 and Z[SINCE] < end:
                whole = Z[SINCE] <= bar[START]
                low, high = (bar[LOW], bar[HIGH]) if whole else (close, close)
                price, limit = (bar[OPEN_AT] if whole else close), Z[LIMIT]
                opened = whole and (price <= limit if Z[SIGN] > 0 else price >= limit)
                if Z[SIGN] > 0:
                    met = price <= limit or low < limit
                    price = min(price, limit)
                else:
                    met = price >= limit or high > limit
                    price = max(price, limit)
                if met:
                    Z[FILLED], Z[DATED] = 0, bar[START] if opened else end
                    _fill(Z, price, bar[VOLUME])
                    if Z[FILLED] != 0:
                        count = int(Z[FILLS])
                        fills[count, 0], fills[count, 1], fills[count, 2] = Z[DATED], Z[FILLED], Z[FILLED_AT]
                        fills[count, 3], fills[count, 4] = Z[FILLED_CHARGES], Z[FILLED_GROSS]
                        Z[FILLS] = count + 1
            if Z[POS] * Z[WANTED] > 0:
                away = 1 if Z[POS] > 0 else -1
                if (close - Z[STOP]) * away <= 0 or (close - Z[TAKE]) * away >= 0:
                    _flatten(Z)
            while spoken < speaks_to and heard[spoken] <= row:
                if Z[HOLDING]:
                    if said[spoken] != SILENT:
                        _take_signal(Z, float(said[spoken]), np.nan, np.nan)
                else:
                    _say(Z, float(enter[spoken]), stop[spoken], take[spoken], int(leave[spoken]), trail[spoken])
                if Z[PENDING]:
                    _act(Z)
                spoken += 1
            net = _net(Z)
            if Z[LOCKED] == 0 and net <= Z[LOSS]:
                Z[LOCKED] = 1
                if Z[FLATTEN] and Z[HAS]:
                    _flatten(Z)
            _sample(Z, net)
            if Z[RETRY]:
                Z[RETRY] = 0
                _act(Z)
            _climb(Z)
            if squares <= end:
                fired = True
                if Z[POS] != 0 or Z[KIND] != 0:
                    _flatten(Z)
            if Z[BAILED] != 0:
                return int(Z[BAILED])
            held[number] += 1 if Z[POS] != 0 else 0
            row += 1
        if Z[POS] != 0 or Z[KIND] != 0:
            Z[BAILED] = OPEN
            return OPEN
        nets[number] = Z[REALISED] - Z[CHARGED]
        Z[WORTH] += nets[number]
    return 0
