"""The seeded synthetic market: every price is invented, and labelled so wherever it is shown.

Two indices follow one market factor, stocks follow it by their beta plus a factor of their own, futures carry a basis, options are
priced from the index when somebody first asks for them. Underneath the closing auction the factors go on, so futures keep moving
while cash stocks and the index stand still.
"""

from datetime import date, datetime, timedelta
from itertools import islice

import numpy as np

from simulators.facts import Facts, Phase
from simulators.listing import Candle, Level, Listing, Market, Quote
from simulators.paths import Floats, Shape, black_scholes, draw_path, draw_ripple, draw_shape, generator, intraday_volatility, number_of
from simulators.tape import Ints, Tape, TapeMarket, as_grid
from simulators.universe import ANCHOR, MARKET_FACTOR, MARKET_SCALE, RATE, UNDERLYINGS, Contract, contracts_of, tokens_of

__all__ = ["Candle", "Level", "Listing", "Market", "Quote", "SyntheticMarket"]

HISTORY_DAYS = 30
DAYS = 250  # a year of trading
SEGMENTS = ("EQ_CAS", "EQ_NONCAS", "FO")


def _span(facts: Facts, day: date) -> tuple[datetime, datetime]:
    """First and last simulated moment of a day over the equity segments."""
    phases: list[Phase] = [
        phase
        for segment in SEGMENTS
        for phase in facts.phases(facts.segment("NFO" if segment == "FO" else "NSE", segment == "EQ_CAS", day), day)
    ]
    return min(phase.start for phase in phases), max(phase.end for phase in phases)


class SyntheticMarket(TapeMarket):
    """A market that never was. Same seed, same day: the same prints, whatever anybody does or asks, and whichever day came first.

    `days` are the next DAYS trading days from `start_day`. Candles reach back 30 trading days before the running day.
    """

    synthetic = True

    def __init__(self, seed: int, start_day: date, facts: Facts | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.facts = facts or Facts.load()
        self.days = list(islice(self.facts.days_from(start_day), DAYS))
        if not self.facts.trading_day(start_day):
            raise ValueError(f"{start_day} is no trading day; the next one is {self.days[0]}")
        self.label = f"synthetic market, seed {seed}"
        self._contracts: dict[str, Contract] = {}
        first = self.facts.next_day(ANCHOR)
        self._starts: dict[str, dict[date, float]] = {root: {first: 0.0} for root in (MARKET_FACTOR, *UNDERLYINGS)}
        self._shapes: dict[tuple[str, date], Shape] = {}
        self._latents: dict[tuple[str, date], Floats] = {}

    # --- the day ------------------------------------------------------------------------------------------------------------------
    def open_day(self, day: date) -> None:
        """List the day's instruments with their previous closes; nothing is played yet."""
        if day not in self.days:
            raise ValueError(f"{day} is not among the days of this market ({self.days[0]} to {self.days[-1]})")
        before = self.facts.previous_day(day)
        opens_at, closes_at = _span(self.facts, day)
        self._begin(day, opens_at, closes_at, _span(self.facts, before)[1])
        self._latents = {key: path for key, path in self._latents.items() if key[1] in {before, day}}
        contracts = contracts_of(self.facts, day, self.level("NIFTY", day))
        tokens = tokens_of(contracts, day)
        self._contracts = {contract.key: contract for contract in contracts}
        self.listings = {contract.key: self._listing(contract, day, before, tokens[contract.key]) for contract in contracts}

    def level(self, root: str, day: date) -> float:
        """The hidden level of an underlying before this day's gap (the end of the day before)."""
        item = UNDERLYINGS[root]
        own = self._start(root, day, item.scale) if item.scale else 0.0
        return item.base * float(np.exp(item.beta * self._start(MARKET_FACTOR, day, MARKET_SCALE) + own))

    def _shape(self, name: str, day: date, scale: float) -> Shape:
        shape = self._shapes.get((name, day))
        if shape is None:
            shape = self._shapes[(name, day)] = draw_shape(self.seed, day, name, scale)
        return shape

    def _start(self, name: str, day: date, scale: float) -> float:
        """Sum of this factor's daily moves from ANCHOR's close up to before `day` (negative sum for days before)."""
        starts = self._starts[name]
        if day in starts:
            return starts[day]
        at = max((known for known in starts if known < day), default=None)
        if at is not None:
            while at < day:
                shape = self._shape(name, at, scale)
                following = self.facts.next_day(at)
                starts[following] = starts[at] + shape.gap + shape.change
                at = following
        else:
            at = min(starts)
            while at > day:
                earlier = self.facts.previous_day(at)
                shape = self._shape(name, earlier, scale)
                starts[earlier] = starts[at] - shape.gap - shape.change
                at = earlier
        return starts[day]

    def _listing(self, contract: Contract, day: date, before: date, token: int) -> Listing:
        item = UNDERLYINGS[contract.root]
        lot, tick = self._lot(contract), self._tick(contract, day)
        close, low, high = self._previous_close(contract, before, tick)
        exchange, symbol = contract.key.split(":", 1)
        is_index_contract = item.is_index and contract.kind != "INDEX"
        freeze = self.facts.freeze(contract.root, day) if is_index_contract else lot * 40 if contract.kind == "FUT" else None
        name = item.name if contract.expiry is None else contract.root
        return Listing(
            key=contract.key, exchange=exchange, symbol=symbol, name=name, kind=contract.kind, underlying=contract.root,
            expiry=contract.expiry, strike=contract.strike, lot=lot, tick_size=tick, token=token, freeze=freeze,
            previous_close=close, lower_circuit=low, upper_circuit=high, is_fno=item.is_fno,
        )  # fmt: skip

    def _lot(self, contract: Contract) -> int:
        if contract.expiry is None:
            return 1
        return self.facts.lot(contract.root, contract.expiry, weekly=contract.weekly) or UNDERLYINGS[contract.root].lot

    def _tick(self, contract: Contract, day: date) -> float:
        """By the price at the end of the month before, as the exchange reviews it."""
        if contract.kind in {"CE", "PE"}:
            return self.facts.tick_size("options", 0.0, day)
        item = UNDERLYINGS[contract.root]
        if contract.kind == "INDEX":
            return 0.05
        review = next(self.facts.days_from(day.replace(day=1)))
        group = "nse_index_futures" if item.is_index else "nse_equity_and_stock_futures"
        return self.facts.tick_size(group, self.level(contract.root, review), day)

    def _previous_close(self, contract: Contract, before: date, tick: float) -> tuple[float, float, float]:
        """Yesterday's official close and today's two circuit prices."""
        if contract.kind in {"CE", "PE"}:
            spot = float(self._latent(contract.root, before)[-1])
            closes = self._option_prices(contract, np.array([spot, 0.9 * spot, 1.1 * spot]), before, _span(self.facts, before)[1], 0.0)
            close = max(tick, as_grid(float(closes[0]), tick))
            return (
                close,
                max(tick, as_grid(0.5 * float(closes.min()), tick)),
                max(close + 100 * tick, as_grid(1.2 * float(closes.max()), tick)),
            )
        tape = self._tape_of(contract, before)
        window = self.facts.close_window(self._segment(contract, before), before)
        seconds = None
        if window is not None and contract.kind != "INDEX":
            seconds = (int((window[0] - tape.start).total_seconds()), int((window[1] - tape.start).total_seconds()))
        close = tape.closing_price(seconds) or self.level(contract.root, before)
        if contract.kind == "INDEX":
            return round(close, 2), 0.0, 0.0
        close = as_grid(close, tick)
        band = 0.10 if UNDERLYINGS[contract.root].is_fno else 0.20
        return close, as_grid(np.ceil(close * (1 - band) / tick) * tick, tick), as_grid(np.floor(close * (1 + band) / tick) * tick, tick)

    # --- tapes --------------------------------------------------------------------------------------------------------------------
    def _make_tape(self, key: str, day: date) -> Tape | None:
        return self._tape_of(self._contracts[key], day)

    def _past_days(self, start: date, end: date) -> list[date]:
        found: list[date] = []
        day = self.day
        for _ in range(HISTORY_DAYS):
            day = self.facts.previous_day(day)
            if day < start:
                break
            if day <= end:
                found.append(day)
        return found[::-1]

    def _anchor(self, key: str, day: date) -> int:
        start = self.facts.continuous(self._segment(self._contracts[key], day), day)[0][0]
        return start.hour * 60 + start.minute

    def _segment(self, contract: Contract, day: date) -> str:
        return self.facts.segment(contract.key.split(":", 1)[0], UNDERLYINGS[contract.root].is_fno, day)

    def _latent(self, root: str, day: date) -> Floats:
        """The hidden price of an underlying for each second from the start to the end of the day's trading in any segment."""
        path = self._latents.get((root, day))
        if path is None:
            item = UNDERLYINGS[root]
            start = self.facts.continuous("FO", day)[0][0]
            length = int((_span(self.facts, day)[1] - start).total_seconds())
            path = item.beta * self._factor(MARKET_FACTOR, day, MARKET_SCALE, length)
            if item.scale:
                path = path + self._factor(root, day, item.scale, length)
            path = self.level(root, day) * np.exp(path)
            if len(self._latents) > 64:
                self._latents.clear()
            self._latents[(root, day)] = path
        return path

    def _factor(self, name: str, day: date, scale: float, length: int) -> Floats:
        return draw_path(self.seed, day, name, self._shape(name, day, scale), scale, length)

    def _on_grid(self, latent: Floats, day: date, opens_at: datetime, length: int) -> Floats:
        """The hidden price on the grid of the whole day: its first value before the opening."""
        lead = int((self.facts.continuous("FO", day)[0][0] - opens_at).total_seconds())
        return np.concatenate((np.full(lead, latent[0]), latent))[:length]

    def _tape_of(self, contract: Contract, day: date) -> Tape:
        opens_at, closes_at = _span(self.facts, day)
        length = int((closes_at - opens_at).total_seconds())
        grid = self._on_grid(self._latent(contract.root, day), day, opens_at, length)
        if contract.kind == "INDEX":
            return self._index_tape(contract, day, opens_at, grid)
        if contract.kind == "FUT" and contract.expiry is not None:
            years = max(0, (contract.expiry - day).days) / 365
            basis = RATE * years + (draw_ripple(self.seed, day, contract.key, 0.00018, length) if years else 0.0)
            grid = grid * np.exp(basis)
        elif contract.kind in {"CE", "PE"}:
            grid = self._option_prices(contract, grid, day, opens_at, draw_ripple(self.seed, day, contract.key, 0.003, length))
        return self._book_tape(contract, day, opens_at, grid)

    def _option_prices(self, contract: Contract, spot: Floats, day: date, start: datetime, ripple: Floats | float) -> Floats:
        """Black-Scholes on the hidden spot from `start` on, one second a value; volatility by day, with skew and smile."""
        assert contract.expiry is not None
        ends = datetime.combine(contract.expiry, start.timetz()).replace(hour=15, minute=30, second=0)
        left = (ends - start).total_seconds() - (np.arange(len(spot)) if isinstance(ripple, np.ndarray) else 0.0)
        moneyness = np.log(contract.strike / spot)
        at_the_money = 0.125 + 0.018 * float(generator(self.seed, day, contract.root, "volatility").standard_normal())
        volatility = np.maximum(at_the_money + ripple + 0.7 * moneyness**2 - 0.12 * moneyness, 0.05)
        return black_scholes(spot, contract.strike, left / (365 * 86400), volatility, RATE, contract.kind == "CE")

    def _index_tape(self, contract: Contract, day: date, opens_at: datetime, grid: Floats) -> Tape:
        """One value a second while cash trades; it stands still in the auctions and prints once after each."""
        segment = self._segment(contract, day)
        values, seconds = grid.copy(), []
        extra = 0
        for start, end in self.facts.continuous(segment, day):
            seconds.append(np.arange(_seconds(start, opens_at), _seconds(end, opens_at)))
        opening = self.facts.auction_at(segment, day, "pre_open")
        if opening is not None:
            seconds.insert(0, np.array([_seconds(opening, opens_at) + 5]))
            extra = _seconds(self.facts.continuous(segment, day)[0][0], opens_at)
        closing = self.facts.auction_at(segment, day, "auction")
        if closing is not None:
            second = _seconds(closing, opens_at) + 5
            seconds.append(np.array([second]))
            values[second] *= 1 + 0.0005 * float(generator(self.seed, day, contract.key, "auction").standard_normal())
        played = np.concatenate(seconds).astype(np.int64)
        return Tape(opens_at, len(grid), played, np.round(values[played], 2), np.zeros(len(played), dtype=np.int64), auction_until=extra)

    def _activity(self, contract: Contract, day: date, price: float, level: float) -> tuple[float, float, int, float]:
        """Prints a second, mean print and usual level quantity (both in units), half the spread as a share of the price."""
        item, lot = UNDERLYINGS[contract.root], self._lot(contract)
        if contract.kind == "EQ":
            return item.rate, item.size, item.depth, 0.0001 if item.is_fno else 0.0008
        if contract.kind == "FUT" and contract.expiry is not None:
            rank = next(
                (rank for rank, expiry in enumerate(self.facts.monthly_expiries(contract.root, day, 3)) if expiry == contract.expiry), 3
            )
            share = (1.0, 0.25, 0.04, 0.01)[rank]
            if item.is_index:
                return 2.2 * share, 2.6 * lot, max(2, round(8 * share**0.3)) * lot, 0.00004 * (1 + rank)
            return 0.6 * share, 1.7 * lot, 4 * lot, 0.00015 * (1 + rank)
        distance = abs(float(np.log(contract.strike / level)))
        busy = float(np.exp(-((distance / 0.022) ** 2)))
        return 0.02 + 1.8 * busy, 3.0 * lot, round(3 + 12 * busy) * lot, max(0.025 / max(price, 0.05), 0.003)

    def _book_tape(self, contract: Contract, day: date, opens_at: datetime, mid: Floats) -> Tape:
        """Prints and best prices around `mid`, in the phases in which this instrument trades."""
        segment, length, lot = self._segment(contract, day), len(mid), self._lot(contract)
        tick = self._tick(contract, day)
        random = generator(self.seed, day, contract.key, "prints")
        rate, size, depth, half = self._activity(contract, day, float(mid[0]), float(self._latent(contract.root, day)[0]))
        inside = np.zeros(length, dtype=bool)
        early = self.facts.expiring_index_stop(day) if contract.expiry == day and UNDERLYINGS[contract.root].is_index else None
        for start, close in self.facts.continuous(segment, day):
            end = min(close, early) if early is not None else close
            inside[_seconds(start, opens_at) : _seconds(end, opens_at)] = True
        first = int(np.argmax(inside))
        volatility = np.ones(length)
        volatility[first:] = intraday_volatility(length - first)
        width = np.maximum(half * mid * np.sqrt(volatility), tick / 2)
        bids = np.floor((mid - width) / tick + 1e-9) * tick
        asks = np.ceil((mid + width) / tick - 1e-9) * tick
        asks = np.where(asks <= bids, bids + tick, asks)
        bids = np.round(np.where(inside & (bids > 0), bids, 0.0), 4).astype(np.float64)
        asks = np.round(np.where(inside, asks, 0.0), 4).astype(np.float64)
        counts = np.minimum(random.poisson(rate * volatility), 6) * inside
        seconds = np.repeat(np.arange(length), counts)
        total = len(seconds)
        push = np.tanh(np.diff(mid, append=mid[-1]) / np.maximum(width, tick))[seconds]
        buyer = (random.random(total) < 0.5 + 0.3 * push) | (bids[seconds] <= 0)
        prices = np.where(buyer, asks[seconds], bids[seconds])
        sweep = random.random(total) < 0.04
        prices = np.round(np.maximum(prices + np.where(sweep, np.where(buyer, tick, -tick), 0.0), tick), 4)
        quantities = np.maximum(1, np.rint(size / lot * np.exp(0.9 * random.standard_normal(total) - 0.4))).astype(np.int64) * lot
        seconds, prices, quantities = self._with_auctions(contract, day, opens_at, mid, tick, (seconds, prices, quantities))
        return Tape(
            opens_at, length, seconds, prices, quantities, bids=bids, asks=asks, oi=self._open_interest(contract, day, length, lot),
            depth=depth, salt=number_of(self.seed, day, contract.key) & 0xFFFFFFFF, auction_until=first,
        )  # fmt: skip

    def _with_auctions(
        self, contract: Contract, day: date, opens_at: datetime, mid: Floats, tick: float, prints: tuple[Ints, Floats, Ints]
    ) -> tuple[Ints, Floats, Ints]:
        """Add the single print of the pre-open and of the closing auction, where this instrument takes part."""
        seconds, prices, quantities = prints
        segment, lot = self._segment(contract, day), self._lot(contract)
        random = generator(self.seed, day, contract.key, "auction")
        volume = int(quantities.sum())
        for kind, share in (("pre_open", 0.006), ("auction", 0.08)):
            at = self.facts.auction_at(segment, day, kind)
            if at is None or (kind == "pre_open" and not self.facts.in_pre_open(contract.kind, contract.root, contract.expiry, day)):
                continue
            second = _seconds(at, opens_at)
            price = as_grid(float(mid[second]) * (1 + (0.0008 * float(random.standard_normal()) if kind == "auction" else 0.0)), tick)
            quantity = max(1, round(volume * share / lot)) * lot
            place = int(np.searchsorted(seconds, second))
            seconds, prices = np.insert(seconds, place, second), np.insert(prices, place, price)
            quantities = np.insert(quantities, place, quantity)
        return seconds, prices, quantities

    def _open_interest(self, contract: Contract, day: date, length: int, lot: int) -> Ints | None:
        if contract.kind == "EQ":
            return None
        random = generator(self.seed, day, contract.key, "oi")
        lots = 40_000 * float(np.exp(0.3 * random.standard_normal()))
        ripple = draw_ripple(self.seed, day, contract.key + "/oi", 0.02, length)
        return np.asarray(np.rint(lots * (1 + ripple)).astype(np.int64) * lot)


def _seconds(at: datetime, start: datetime) -> int:
    return int((at - start) / timedelta(seconds=1))
