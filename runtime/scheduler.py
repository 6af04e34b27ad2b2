"""The day's housekeeping on the wall clock (APScheduler): instrument refresh, login reminder, retention. Never the square-off.

Only paper and live accounts have it: a simulated day has no housekeeping. Nothing here is needed for safety; a job that fails is told
to a person and runs again the next day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from core.ports import Clock, Notifier
from core.types import IST

LATE = 6 * 3600  # seconds a job may start late (a laptop that slept), then it is skipped until tomorrow


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of housekeeping and its times of day, `HH:MM` in IST; each may fire again harmlessly."""

    name: str
    times: tuple[str, ...]
    run: Callable[[], None]


class Scheduler:
    """Runs jobs daily in a thread of APScheduler's (none without jobs); a job that raises is reported, never re-raised."""

    def __init__(self, jobs: list[Job], notifier: Notifier) -> None:
        self._notifier = notifier
        self._scheduler: Any = None
        if not jobs:
            return
        from apscheduler.schedulers.background import BackgroundScheduler  # 30 ms of start-up that a simulated day does without

        self._scheduler = BackgroundScheduler(timezone=IST, job_defaults={"coalesce": True, "misfire_grace_time": LATE, "max_instances": 1})
        for job in jobs:
            for at in job.times:
                hour, minute = at.split(":")
                self._scheduler.add_job(self.run, "cron", [job], id=f"{job.name} {at}", hour=int(hour), minute=int(minute))

    def start(self) -> None:
        if self._scheduler is not None:
            self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)

    def planned(self) -> list[str]:
        """The jobs by name and time of day."""
        return sorted(job.id for job in self._scheduler.get_jobs()) if self._scheduler is not None else []

    def run(self, job: Job) -> None:
        """Run one job now."""
        try:
            job.run()
        except Exception as error:
            logger.exception("housekeeping {!r} failed", job.name)
            self._notifier.send("warn", f"housekeeping {job.name!r} failed", f"{error}; it runs again at its next time")


def daily_jobs(
    *,
    refresh_instruments: Callable[[], None],
    remind_login: Callable[[], None],
    probe_holiday: Callable[[], None],
    folders: list[tuple[Path, int]],
    clock: Clock,
) -> list[Job]:
    """The housekeeping of a trading account.

    The instrument dump is fetched after the broker has made it (docs advise after 08:30) and once more before the open in case the
    first came out wrong. The reminder comes while there is time to log in before 09:00, and again at the last moment.
    A day without a session in the calendar is asked for trades after the usual open, and in a muhurat evening. `folders` are (folder,
    days to keep).
    """

    def retain() -> None:
        for folder, days in folders:
            remove_older(folder, days, clock.now())

    return [
        Job("instrument refresh", ("08:35", "08:55"), refresh_instruments),
        Job("login reminder", ("08:15", "08:45", "09:00"), remind_login),
        Job("holiday probe", ("09:20", "10:30", "18:30"), probe_holiday),
        Job("retention", ("02:30",), retain),
    ]


def remove_older(folder: Path, days: int, now: datetime) -> list[Path]:
    """Delete files below `folder` last written more than `days` ago; returns them. The ledger and audit segments are never given to it."""
    if days <= 0 or not folder.is_dir():
        return []
    limit = (now - timedelta(days=days)).timestamp()
    old = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_mtime < limit]
    for file in old:
        file.unlink(missing_ok=True)
    if old:
        logger.info("retention: {} files older than {} days removed from {}", len(old), days, folder)
    return old
