"""What goes wrong on a simulated day: the catalogue, and the plan that a seed draws from it.

A fault is a window of time. Within it, what it names goes wrong at most `strikes` times (0: each time). `blinds` says that the broker's
books cannot be read truthfully meanwhile, so that nobody can expect the ledger to agree with them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.market import KEYS, clock


@dataclass(frozen=True)
class Kind:
    """One sort of fault: how long its window is (seconds from, to), how often it strikes in it (from, to), and when it may begin."""

    seconds: tuple[float, float] = (20.0, 90.0)
    strikes: tuple[int, int] = (0, 0)
    blinds: bool = False
    begins: tuple[str, str] = ("09:15:05", "15:26:00")
    what: str = ""


def _outage(begins: str, minutes: int) -> Kind:
    return Kind((minutes * 60.0, minutes * 60.0), blinds=True, begins=(begins, begins), what="nothing gets through to the broker, nor back")


LONG = (900.0, 5400.0)  # a window in which a few strikes wait for what they strike

CATALOGUE: Mapping[str, Kind] = {
    # --- an order call goes wrong
    "place_ack_lost": Kind(LONG, (1, 3), what="the order is booked, its reply never comes"),
    "place_request_lost": Kind(LONG, (1, 3), what="the order never reaches the broker"),
    "place_arrives_late": Kind(LONG, (1, 2), what="the order reaches the broker seconds after we gave up waiting"),
    "place_reset_booked": Kind(LONG, (1, 3), what="booked, then the connection is reset"),
    "place_reset": Kind(LONG, (1, 3), what="the connection is reset before anything is booked"),
    "place_502_booked": Kind(LONG, (1, 3), what="an error page although the order is booked"),
    "place_502": Kind(LONG, (1, 3), what="an error page, nothing is booked"),
    "place_no_id": Kind(LONG, (1, 2), what="200 without an order id, booked"),
    "place_429": Kind(LONG, (1, 4), what="refused for rate"),
    "place_refused": Kind(LONG, (1, 3), what="refused at the door"),
    "place_slow": Kind(LONG, (1, 4), what="the ack comes after two seconds and more"),
    "rms_reject": Kind(LONG, (1, 3), what="taken, then rejected by the risk desk"),
    "partial": Kind(LONG, (1, 3), what="fills stop half-way, and go on minutes later"),
    "cancel_ack_lost": Kind(LONG, (1, 3), what="cancelled, the reply never comes"),
    "cancel_request_lost": Kind(LONG, (1, 3), what="the cancel never reaches the broker"),
    "cancel_refused": Kind(LONG, (1, 3), what="the order cannot be cancelled now"),
    "cancel_late": Kind(LONG, (1, 3), what="the cancel takes seconds, fills come first"),
    "cancel_429": Kind(LONG, (1, 3), what="refused for rate"),
    "modify_ack_lost": Kind(LONG, (1, 3), what="modified, the reply never comes"),
    "modify_request_lost": Kind(LONG, (1, 3), what="the change never reaches the broker"),
    "modify_refused": Kind(LONG, (1, 3), what="the order cannot be modified now"),
    "modify_502": Kind(LONG, (1, 3), what="an error page, modified or not"),
    "modify_late": Kind(LONG, (1, 3), what="the change takes seconds, fills come first"),
    # --- reads go wrong
    "books_fail": Kind((20, 120), blinds=True, what="every read fails"),
    "books_slow": Kind((20, 120), blinds=True, what="every read takes seconds"),
    "books_lag": Kind((20, 100), blinds=True, what="orders, trades and positions as they stood a while ago"),
    "books_stale": Kind((200, 1800), blinds=True, what="all books stand still for minutes, placing works (6 November 2023)"),
    "trades_lag": Kind((20, 100), blinds=True, what="the trade book lags behind the order book"),
    "positions_lag": Kind((20, 100), blinds=True, what="positions lag behind orders"),
    "positions_empty": Kind((20, 80), blinds=True, what="no position rows at all"),
    "row_missing": Kind((20, 90), blinds=True, what="the newest order is missing from the order book"),
    "funds_fail": Kind((20, 120), what="funds cannot be read"),
    # --- the feed goes wrong
    "feed_drop": Kind((1, 120), what="the socket breaks, reconnects fail until the end"),
    "feed_mute": Kind((10, 120), what="connected, and nothing comes"),
    "instrument_mute": Kind((20, 240), what="one instrument does not tick"),
    "tick_garbage": Kind((20, 120), what="ticks with zero, negative or nonsense prices"),
    "tick_spike": Kind((20, 60), (1, 3), what="single ticks far from the market"),
    "tick_stale": Kind((20, 120), what="ticks carry an old exchange time"),
    "updates_lost": Kind((30, 240), what="order updates never come"),
    "updates_doubled": Kind((30, 240), what="order updates come twice"),
    "updates_late": Kind((30, 240), what="order updates are held back, newer ones overtake"),
    "updates_replayed": Kind((30, 240), what="earlier states of an order are told again"),
    "updates_unknown": Kind(LONG, (1, 2), what="an order update with a label that nobody knows"),
    # --- the login
    "token_dies": Kind((20, 600), blinds=True, what="the token is dead until somebody logs in"),
    # --- outages
    **{f"outage_{minutes}_{name}": _outage(at, minutes) for minutes in (5, 15, 45) for name, at in
       (("open", "09:15:00"), ("noon", "12:00:00"), ("1500", "15:00:00"))},
    "rest_outage": Kind((60, 300), blinds=True, what="REST is gone, the feed lives"),
    # --- others on the same account
    "foreign_entry": Kind((1, 1), what="somebody else opens a position"),
    "foreign_close": Kind((1, 1), what="somebody else closes what we hold"),
    "foreign_cancel": Kind((60, 1200), (1, 2), what="somebody else cancels a working order of ours"),
    # --- the process
    "kill": Kind((1, 1), what="kill -9 at a moment"),
    "kill_at_commit": Kind((600, 600), (1, 1), what="kill -9 before or after a commit"),
    "kill_at_send": Kind((600, 600), (1, 1), what="kill -9 while an order call is under way"),
    "kill_at_square_off": Kind((1, 1), begins=("15:05:58", "15:20:08"), what="kill -9 while positions are squared off"),
    "kill_long": Kind((1, 1), what="kill -9, and nobody starts it for minutes"),
    "suspend": Kind((5, 300), blinds=True, what="the machine sleeps"),
    # --- the ledger
    "store_locked": Kind((5, 90), what="another program holds the ledger"),
    "store_full": Kind((5, 180), what="the disk is full"),
    "store_io": Kind((5, 90), what="input/output errors"),
    "commit_unsure": Kind((60, 300), (1, 2), what="COMMIT fails although it happened"),
    # --- the clock
    "clock_ahead": Kind((20, 300), what="our clock jumps ahead, and back later"),
    "clock_back": Kind((20, 300), what="our clock jumps back, and ahead later"),
    # --- the market
    "circuit": Kind((30, 600), what="one listing is locked at its circuit"),
    "halt": Kind((30, 600), what="the exchange stands still"),
    "thin": Kind((60, 900), what="a wide spread: orders rest"),
    "gap": Kind((1, 1), what="prices jump"),
    # --- people
    "command_kill": Kind((120, 600), begins=("10:00:00", "15:25:00"), what="kill, and resume minutes later"),
    "command_square_off": Kind((1, 1), what="square-off by command"),
    "command_pause": Kind((60, 600), what="pause, then resume"),
}  # fmt: skip


@dataclass
class Fault:
    """One fault of one day. `left` counts strikes down (None: no end)."""

    kind: str
    start: datetime
    end: datetime
    left: int | None
    key: str
    chance: random.Random
    values: dict[str, Any] = field(default_factory=dict)
    struck: int = 0

    def active(self, now: datetime) -> bool:
        return self.start <= now < self.end and self.left != 0

    def __str__(self) -> str:
        return f"{self.kind} {self.start:%H:%M:%S}-{self.end:%H:%M:%S} x{self.struck}"


class Plan:
    """The faults of one day, and what is asked of them at each step. A fault of a seed is the same whichever others are drawn with it."""

    def __init__(self, seed: int, only: Sequence[str] | None = None) -> None:
        chance = random.Random(f"faults {seed}")
        kinds = list(only) if only is not None else chance.sample(sorted(CATALOGUE), chance.randint(5, 9))
        self.faults = [_draw(kind, random.Random(f"{seed} {kind} {kinds[:place].count(kind)}")) for place, kind in enumerate(kinds)]
        self.faults.sort(key=lambda fault: (fault.start, fault.kind))
        self._wide = [fault for fault in self.faults if fault.left is None]  # those that do not wait for something to strike

    def active(self, kind: str, now: datetime) -> Fault | None:
        """The fault of this kind that holds now; asking costs it nothing."""
        return next((fault for fault in self.faults if fault.kind == kind and fault.active(now)), None)

    def strike(self, kind: str, now: datetime) -> Fault | None:
        """The fault of this kind that strikes now; it is counted."""
        fault = self.active(kind, now)
        if fault is not None:
            fault.struck += 1
            if fault.left is not None:
                fault.left -= 1
        return fault

    def outage(self, now: datetime) -> Fault | None:
        """Whatever keeps requests from the broker now."""
        return next((fault for fault in self.faults if "outage" in fault.kind and fault.active(now)), None)

    def blind(self, now: datetime) -> bool:
        """Whether the broker's books cannot be read truthfully now."""
        return any(CATALOGUE[fault.kind].blinds and fault.start <= now < fault.end for fault in self.faults)

    def near(self, now: datetime, margin: float) -> bool:
        """Whether a fault's window is at most `margin` seconds away."""
        span = timedelta(seconds=margin)
        return any(fault.start - span <= now < fault.end + span for fault in self._wide)

    def edge(self, now: datetime, margin: float) -> bool:
        """Whether a fault begins or ends within `margin` seconds."""
        return any(abs((now - moment).total_seconds()) <= margin for fault in self._wide for moment in (fault.start, fault.end))

    @property
    def over(self) -> datetime:
        """When the last of them ends."""
        return max((fault.end for fault in self.faults if fault.left != 0), default=clock("09:00"))


def _draw(name: str, chance: random.Random) -> Fault:
    kind = CATALOGUE[name]
    first, last = clock(kind.begins[0]), clock(kind.begins[1])
    start = first + timedelta(seconds=round(chance.uniform(0, (last - first).total_seconds()), 3))
    end = start + timedelta(seconds=round(chance.uniform(*kind.seconds), 3))
    strikes = chance.randint(*kind.strikes) if kind.strikes[1] else None
    return Fault(name, start, end, strikes, chance.choice(KEYS), random.Random(chance.random()))
