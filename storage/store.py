"""The ledger over SQLAlchemy Core: one writer, one transaction at a time, durable at `commit`."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from core.types import Fill, Order, Position, Snapshot


class SqlReader:
    """The reading half of core.ports.Store."""

    def orders(self, day: date | None = None) -> list[Order]:
        """Orders created on that IST day (None: all), by creation."""
        raise NotImplementedError

    def live_orders(self) -> list[Order]:
        raise NotImplementedError

    def fills(self, day: date | None = None) -> list[Fill]:
        """Fills in booking order."""
        raise NotImplementedError

    def positions(self) -> list[Position]:
        raise NotImplementedError

    def get(self, space: str, key: str) -> Any:
        raise NotImplementedError

    def items(self, space: str) -> dict[str, Any]:
        raise NotImplementedError

    def read_journal(self, *, kind: str | None = None, since: int = 0, day: date | None = None) -> list[dict[str, Any]]:
        """Entries with seq > since: {seq, at (ISO text), kind, **data}."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot | None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class SqlStore(SqlReader):
    """core.ports.Store. A failed commit raises StoreError, keeps what was to be written, and the next commit writes it."""

    def journal(self, at: datetime, kind: str, data: Mapping[str, Any]) -> int:
        raise NotImplementedError

    def save_order(self, order: Order) -> None:
        raise NotImplementedError

    def save_fill(self, fill: Fill) -> None:
        raise NotImplementedError

    def save_position(self, position: Position) -> None:
        raise NotImplementedError

    def put(self, space: str, key: str, value: Any) -> None:
        raise NotImplementedError

    def save_snapshot(self, snapshot: Snapshot) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        raise NotImplementedError


def open_store(url: str) -> SqlStore:
    """The ledger at `url` (`sqlite:////abs/ledger.sqlite`, `postgresql+psycopg://...`), its folder made and its schema migrated to head."""
    raise NotImplementedError


def open_reader(url: str) -> SqlReader:
    """A read-only view of the ledger for read-outs; works while the daemon writes and when it is down. StoreError if there is none."""
    raise NotImplementedError
