"""What `main.py run` was asked to do: one frozen record of its flags."""

from dataclasses import dataclass
from datetime import date as Day
from datetime import time as TimeOfDay
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of `run`, parsed but not yet judged against the configuration (the daemon does that).

    None means "not given": the daemon then takes the configuration's value or the default of the account's kind. `speed` is market
    seconds per wall second, `math.inf` for `max`; it only applies to simulated accounts. `date` and `start` are the first simulated
    day and its first moment (IST). `simulator` is the admin URL of a simulator that already runs. `api=False` says that no web
    process is wanted.
    """

    config: Path
    state: Path
    broker: str | None = None
    account: str | None = None
    beside: tuple[str, ...] = ()  # further accounts, side by side with `account`
    days: int | None = None
    date: Day | None = None
    start: TimeOfDay | None = None
    speed: float | None = None
    data: Path | None = None
    symbols: Path | None = None
    repair: bool = False
    strategy: Path | None = None
    instrument: str | None = None
    seed: int | None = None
    faults: Path | None = None
    simulator: str | None = None
    resume: bool = False
    api: bool = True
