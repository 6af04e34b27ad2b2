"""What the web process remembers between its runs: each app's last good answer and daily equity, and webhook alerts that were taken."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select

from storage.account_file import AccountFile
from storage.account_models import alerts_seen, answers, equity

KEEP_ALERTS = timedelta(days=2)
KEEP_EQUITY = 400  # days of each app


class Remembered:
    """Of one accounts file."""

    def __init__(self, file: AccountFile) -> None:
        self._file = file

    def answer(self, app_id: int) -> dict[str, Any] | None:
        """The last good portfolio of an app's broker."""
        with self._file.reading() as connection:
            body = connection.execute(select(answers.c.body).where(answers.c.app_id == app_id)).scalar()
        return json.loads(body) if body is not None else None

    def keep_answer(self, app_id: int, found: Mapping[str, Any], day: date, value: float, profit: float) -> None:
        """A good answer and what it says of the day's equity; the last one of a day stays."""
        with self._file.writing() as connection:
            connection.execute(delete(answers).where(answers.c.app_id == app_id))
            connection.execute(insert(answers).values(app_id=app_id, as_of=found["as_of"], body=json.dumps(found)))
            connection.execute(delete(equity).where(equity.c.app_id == app_id, equity.c.day == day.isoformat()))
            row = {"app_id": app_id, "day": day.isoformat(), "value": f"{value:.2f}", "profit": f"{profit:.2f}"}
            connection.execute(insert(equity).values(row))
            old = select(equity.c.day).where(equity.c.app_id == app_id).order_by(equity.c.day.desc()).offset(KEEP_EQUITY)
            for gone in connection.execute(old).scalars().all():
                connection.execute(delete(equity).where(equity.c.app_id == app_id, equity.c.day == gone))

    def days(self, app_id: int, most: int) -> list[tuple[date, float, float]]:
        """(day, value, profit) of the latest days that are known, oldest first."""
        wanted = select(equity.c.day, equity.c.value, equity.c.profit).where(equity.c.app_id == app_id).order_by(equity.c.day.desc())
        with self._file.reading() as connection:
            rows = connection.execute(wanted.limit(most)).all()
        return [(date.fromisoformat(day), float(value), float(profit)) for day, value, profit in reversed(rows)]

    def first_time(self, digest: str, now: datetime) -> bool:
        """Whether this alert was not taken before; it is from now on."""
        with self._file.writing() as connection:
            connection.execute(delete(alerts_seen).where(alerts_seen.c.at < (now - KEEP_ALERTS).isoformat()))
            if connection.execute(select(alerts_seen.c.digest).where(alerts_seen.c.digest == digest)).scalar() is not None:
                return False
            connection.execute(insert(alerts_seen).values(digest=digest, at=now.isoformat()))
        return True
