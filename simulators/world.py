"""One simulated world: a market and an exchange moved through time together, day after day, by one `advance`."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone

from simulators.exchange import Exchange
from simulators.listing import Market
from simulators.orders import Change

IST = timezone(timedelta(hours=5, minutes=30), "IST")
DAY_STARTS = time(6, 0)
"""When a day's book opens, contracts get their tokens and yesterday's access tokens die."""


class World:
    """Owns time. `now` is where the world stands; nothing here ever depends on what a client asks for."""

    def __init__(self, market: Market, exchange: Exchange, start: datetime, on_step: Callable[[datetime], None] | None = None) -> None:
        self.market = market
        self.exchange = exchange
        self.on_step = on_step
        self.now = start
        self.steps = 0
        self.changed_at: dict[str, int] = {}  # key -> number of the step that changed its quote last
        self.changes: list[Change] = []  # since the last take_changes()
        self._days = sorted(market.days)
        self._next_day: datetime | None = None
        if start.date() not in self._days:
            raise ValueError(f"{start.date()} is no trading day of this market; its days run from {self._days[0]} to {self._days[-1]}")
        self._open(start.date())
        self._catch_up(start)

    @property
    def day(self) -> date:
        assert self.market.day is not None
        return self.market.day

    @property
    def last_moment(self) -> datetime:
        """Midnight after the last day there is."""
        return datetime.combine(self._days[-1] + timedelta(days=1), time(0), IST)

    def next_second(self, now: datetime) -> datetime | None:
        """The next moment after `now` at which the market plays; None once the last day has closed."""
        spacing = self.market.spacing_s
        if now < self.market.opens_at:
            return self.market.opens_at
        if now < self.market.closes_at:
            whole = now.replace(microsecond=0)
            passed = int((whole - self.market.opens_at).total_seconds())
            return min(self.market.opens_at + timedelta(seconds=(passed // spacing + 1) * spacing), self.market.closes_at)
        return None

    def next_day(self) -> datetime | None:
        """When the next day's book opens; None after the last day."""
        return self._next_day

    def advance(self, to: datetime) -> None:
        """Play everything up to and including `to`, in time order; an earlier `to` is ignored."""
        while self.now < to:
            due = self.due(to)
            self.now = due
            following = self.next_day()
            if following is not None and due >= following:
                self._open(following.date())
            self._play(due)

    def take_changes(self) -> list[Change]:
        """What happened to orders since the last call, in order."""
        taken, self.changes = self.changes, []
        return taken

    def due(self, to: datetime) -> datetime:
        """The next moment at which something is played on the way to `to`, which is later than `now`; at the latest `to`."""
        moments = (self.next_second(self.now), self.exchange.next_due(), self.next_day())
        soonest = max(min((moment for moment in moments if moment is not None), default=to), self.now + timedelta(microseconds=1))
        return min(soonest, to)

    def _play(self, now: datetime) -> None:
        if self.market.opens_at <= now <= self.market.closes_at and now.microsecond == 0:
            self.steps += 1
            for key in self.market.step(now):
                self.changed_at[key] = self.steps
            self.changes += self.exchange.advance(now)
            if self.on_step is not None:
                self.on_step(now)
        else:
            self.changes += self.exchange.advance(now)

    def _open(self, day: date) -> None:
        self.market.open_day(day)
        later = next((one for one in self._days if one > day), None)
        self._next_day = datetime.combine(later, DAY_STARTS, IST) if later is not None else None
        self.changed_at.clear()
        self.exchange.open_day(day)

    def _catch_up(self, start: datetime) -> None:
        """A world that starts in the middle of a day has played the morning."""
        opens = min(self.market.opens_at, start)
        self.now = opens
        if opens == self.market.opens_at:
            self._play(opens)
        self.advance(start)
