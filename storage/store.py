"""The ledger over SQLAlchemy Core: one writer, one transaction at a time, durable at `commit` (synchronous=FULL).

1. Writes wait in memory until `commit` puts all of them into one transaction. A read inside that time sees them.
2. A commit that fails (locked, full, gone) raises StoreError and loses nothing: what waited goes with the next commit, in the same order
   and with the same sequence numbers. So the journal has no gap over failures, rollbacks and restarts.
3. A failed transaction costs its connection; the next use makes another.
4. SQLite's own driver executes the writes: Core would cost each four times as much, and an order waits for them. PostgreSQL keeps Core.
5. A row that can never be written (a tag used twice) is dropped from the queue and named in the error; the rest goes on waiting.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Engine, Select, Table, bindparam, delete, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from core.errors import StoreError
from core.ports import Facts, said
from core.types import ENDED, IST, Fill, Order, Position, Snapshot
from storage import connecting, models

_ENDED = tuple(state.value for state in ENDED)
_encoder = msgspec.json.Encoder(enc_hook=str)
_order_of = msgspec.json.Decoder(Order)
_fill_of = msgspec.json.Decoder(Fill)
_position_of = msgspec.json.Decoder(Position)
_snapshot_of = msgspec.json.Decoder(Snapshot)


def open_store(url: str) -> "SqlStore":
    """The ledger at `url` (`sqlite:////abs/ledger.sqlite`, `postgresql+psycopg://...`), its folder made and its schema brought to HEAD.

    Raises StoreError: a newer program wrote it, another process writes it, or it cannot be reached.
    """
    with _typed(f"opening the ledger at {connecting.shown(url)}"):
        engine = connecting.writing_engine(url)
        with engine.connect() as connection:
            connecting.migrate(connection, url)
        return SqlStore(engine)


def open_reader(url: str) -> "SqlReader":
    """A read-only view for read-outs, while the daemon writes or when it is down. StoreError if there is no ledger of this version."""
    with _typed(f"reading the ledger at {connecting.shown(url)}"):
        engine = connecting.reading_engine(url)
        with engine.connect() as connection:
            connecting.require_head(connection, url)
        return SqlReader(engine)


class SqlReader:
    """The reading half of core.ports.Store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None
        self._driver: sqlite3.Connection | None = None  # what `_kept` holds, where that is SQLite

    def orders(self, day: date | None = None) -> list[Order]:
        """Orders created on that IST day (None: all), by creation."""
        found = select(models.orders.c.body).order_by(models.orders.c.created_at, models.orders.c.id)
        if day is not None:
            found = found.where(models.orders.c.day == day.isoformat())
        return [_order_of.decode(body) for (body,) in self._rows(found)]

    def live_orders(self) -> list[Order]:
        """Orders that have not ended, by creation."""
        table = models.orders
        found = select(table.c.body).where(table.c.state.not_in(_ENDED)).order_by(table.c.created_at, table.c.id)
        return [_order_of.decode(body) for (body,) in self._rows(found)]

    def fills(self, day: date | None = None) -> list[Fill]:
        """Fills in booking order."""
        found = select(models.fills.c.body).order_by(models.fills.c.seq)
        if day is not None:
            found = found.where(models.fills.c.day == day.isoformat())
        return [_fill_of.decode(body) for (body,) in self._rows(found)]

    def positions(self) -> list[Position]:
        """Every sub-account as last saved, the flat ones too."""
        table = models.positions
        found = select(table.c.body).order_by(table.c.account, table.c.strategy, table.c.instrument, table.c.product)
        return [_position_of.decode(body) for (body,) in self._rows(found)]

    def get(self, space: str, key: str) -> Any:
        """The value kept under (space, key), None if there is none."""
        table = models.state
        found = list(self._rows(select(table.c.body).where(table.c.space == space, table.c.key == key)))
        return msgspec.json.decode(found[0][0]) if found else None

    def items(self, space: str) -> dict[str, Any]:
        """Every value kept in a space, by key."""
        table = models.state
        found = select(table.c.key, table.c.body).where(table.c.space == space).order_by(table.c.key)
        return {key: msgspec.json.decode(body) for key, body in self._rows(found)}

    def read_journal(
        self, *, kind: str | None = None, since: int = 0, day: date | None = None, before: int | None = None, last: int | None = None
    ) -> list[dict[str, Any]]:
        """Entries with since < seq < before, the newest `last` of them: {seq, at (ISO 8601 text), kind, and what was journalled}."""
        table = models.journal
        found = (
            select(table.c.seq, table.c.at, table.c.kind, table.c.body).where(table.c.seq > since).order_by(table.c.seq.desc()).limit(last)
        )
        if kind is not None:
            found = found.where(table.c.kind == kind)
        if day is not None:
            found = found.where(table.c.day == day.isoformat())
        if before is not None:
            found = found.where(table.c.seq < before)
        entries = []
        for seq, at, what, body in reversed(self._rows(found)):
            head = {"seq": seq, "at": at, "kind": what}
            entries.append(head | {key: value for key, value in msgspec.json.decode(body).items() if key not in head})
        return entries

    def snapshot(self) -> Snapshot | None:
        """The last snapshot saved."""
        found = list(self._rows(select(models.snapshot.c.body)))
        return _snapshot_of.decode(found[0][0]) if found else None

    def close(self) -> None:
        """Let the connection go."""
        self._drop()

    def _rows(self, found: Select[Any]) -> Sequence[Any]:
        with _typed("reading the ledger", self._drop):
            return self._connection().execute(found).all()

    def _connection(self) -> Connection:
        if self._kept is None:
            self._kept = self._engine.connect()
            driver = self._kept.connection.driver_connection
            self._driver = driver if isinstance(driver, sqlite3.Connection) else None
        return self._kept

    def _drop(self) -> None:
        kept, self._kept, self._driver = self._kept, None, None
        if kept is not None:
            kept.close()


class _Statement:
    """One INSERT, upsert or DELETE, compiled once for the dialect; `bind` orders its values as the driver wants them."""

    def __init__(self, name: str, clause: Any, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        self.name = name
        self.sql = str(compiled)
        self.order: Sequence[str] | None = compiled.positiontup

    def bind(self, **values: Any) -> Any:
        return values if self.order is None else tuple(values[name] for name in self.order)


class SqlStore(SqlReader):
    """core.ports.Store. The engine thread owns it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        dialect = engine.dialect
        insert = _insert_of(dialect)

        def upsert(table: Table) -> Any:
            clause: Any = insert(table).values({column.name: bindparam(column.name) for column in table.columns})
            keys = [column.name for column in table.primary_key]
            changes = {column.name: clause.excluded[column.name] for column in table.columns if column.name not in keys}
            return clause.on_conflict_do_update(index_elements=keys, set_=changes)

        self._begin = "BEGIN IMMEDIATE" if dialect.name == "sqlite" else "BEGIN"
        self._journal = _Statement("journal", insert(models.journal), dialect)
        self._fill = _Statement("fill", insert(models.fills).on_conflict_do_nothing(), dialect)
        self._order = _Statement("order", upsert(models.orders), dialect)
        self._position = _Statement("position", upsert(models.positions), dialect)
        self._state = _Statement("state", upsert(models.state), dialect)
        keep = models.state.c
        forget = delete(models.state).where(keep.space == bindparam("space"), keep.key == bindparam("key"))
        self._forget = _Statement("state", forget, dialect)
        self._snapshot = _Statement("snapshot", upsert(models.snapshot), dialect)
        self._pending: list[tuple[_Statement, Any, int]] = []  # statement, values, journal seq or 0
        self._shot: Any = None  # only the newest snapshot matters
        self._applied: int | None = None  # how many of the pending are in the open transaction; None: there is none
        self._unsure = False  # the last COMMIT failed and may have happened all the same
        self.before_commit: Callable[[], object] = lambda: None  # what is to be written before the ledger is (the recording)
        self._seq = self._newest(models.journal)
        self._fill_seq = self._newest(models.fills)

    # --- writing -----------------------------------------------------------------------------------------------------------------------

    def journal(self, at: datetime, kind: str, data: Facts) -> int:
        """Append one entry; its sequence number is final."""
        self._seq += 1
        at = at.astimezone(IST)
        body = _encoder.encode(said(data)).decode()
        values = self._journal.bind(seq=self._seq, at=_iso(at), day=at.date().isoformat(), kind=kind, body=body)
        self._pending.append((self._journal, values, self._seq))
        return self._seq

    def save_order(self, order: Order) -> None:
        """Insert the order or replace it."""
        created = order.created_at.astimezone(IST)
        values = self._order.bind(
            id=order.id,
            tag=order.tag,
            day=created.date().isoformat(),
            created_at=_iso(created),
            state=order.state.value,
            body=_encoder.encode(order).decode(),
        )
        self._pending.append((self._order, values, 0))

    def save_fill(self, fill: Fill) -> None:
        """Append the fill; the same trade of the same order again is no second row."""
        self._fill_seq += 1
        values = self._fill.bind(
            seq=self._fill_seq,
            account=fill.account,
            day=fill.at.astimezone(IST).date().isoformat(),
            instrument=fill.instrument.key,
            side=fill.side.value,
            id=fill.id,
            order_id=fill.order_id,
            body=_encoder.encode(fill).decode(),
        )
        self._pending.append((self._fill, values, 0))

    def save_position(self, position: Position) -> None:
        """Insert the position or replace it."""
        values = self._position.bind(
            account=position.account,
            strategy=position.strategy,
            instrument=position.instrument.key,
            product=position.product,
            body=_encoder.encode(position).decode(),
        )
        self._pending.append((self._position, values, 0))

    def put(self, space: str, key: str, value: Any) -> None:
        """Keep a JSON value under (space, key); None deletes it."""
        if value is None:
            self._pending.append((self._forget, self._forget.bind(space=space, key=key), 0))
        else:
            body = _encoder.encode(value).decode()
            self._pending.append((self._state, self._state.bind(space=space, key=key, body=body), 0))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep the newest snapshot; it goes with the next commit."""
        self._shot = self._snapshot.bind(id=1, body=_encoder.encode(snapshot).decode())

    def commit(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Make everything written so far durable. Raises StoreError; then nothing is lost and the next commit tries again.

        `meanwhile` is called when all is in the transaction and only the disk is left to wait for.
        """
        if not self._pending and self._shot is None and self._applied is None:
            return
        self.before_commit()
        with _typed("writing the ledger", self._give_up):
            self._apply()
            if meanwhile is not None:
                meanwhile()
            self._unsure = True
            self._execute("COMMIT")
            self._unsure = False
        self._applied = None
        self._pending.clear()
        self._shot = None

    @property
    def waiting(self) -> int:
        """How many writes no commit has made durable yet."""
        return len(self._pending) + (self._shot is not None)

    def close(self) -> None:
        """Commit what waits and let the connection go."""
        try:
            self.commit()
        finally:
            self._drop()

    # --- the transaction ---------------------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Put what waits into the open transaction, opening one if need be."""
        connection = self._connection()
        if self._applied is None:
            self._execute(self._begin)
            self._applied = 0
            if self._unsure:
                self._settle(connection)
        while self._applied < len(self._pending):
            statement, values, _ = self._pending[self._applied]
            try:
                self._execute(statement.sql, values)
            except (IntegrityError, sqlite3.IntegrityError) as error:
                if statement is self._journal:
                    raise StoreError(
                        f"the journal has entry {self._pending[self._applied][2]} already: another process writes it"
                    ) from error
                del self._pending[self._applied]
                raise StoreError(f"the ledger refuses a row of kind {statement.name}: {_said(error)}; it is not retried") from error
            self._applied += 1
        if self._shot is not None:
            self._execute(self._snapshot.sql, self._shot)

    def _execute(self, sql: str, values: Any = ()) -> None:
        connection = self._connection()
        if self._driver is not None:
            self._driver.execute(sql, values)
        else:
            connection.exec_driver_sql(sql, values or None)

    def _settle(self, connection: Connection) -> None:
        """A COMMIT failed without saying whether it happened: journal entries that are there are not written again; the rest may be."""
        newest = connection.execute(select(func.coalesce(func.max(models.journal.c.seq), 0))).scalar_one()
        self._pending = [entry for entry in self._pending if entry[2] == 0 or entry[2] > newest]
        self._unsure = False

    def _give_up(self) -> None:
        """The transaction failed: its connection goes, what waited stays."""
        self._applied = None
        self._drop()

    def _rows(self, found: Select[Any]) -> Sequence[Any]:
        if self._pending or self._shot is not None:
            with _typed("writing the ledger", self._give_up):
                self._apply()
        with _typed("reading the ledger", self._give_up):
            return self._connection().execute(found).all()

    def _newest(self, table: Table) -> int:
        [(newest,)] = self._rows(select(func.coalesce(func.max(table.c.seq), 0)))
        return int(newest)


def _insert_of(dialect: Dialect) -> Callable[[Table], Any]:
    """The dialect's INSERT with ON CONFLICT; only the one in use is imported (20 ms of start-up)."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


@contextmanager
def _typed(what: str, undo: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn what the database layer raises inside into StoreError, after `undo`; a StoreError passes as it is, after `undo` too."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, StoreError) as error:
        if undo is not None:
            undo()
        if isinstance(error, StoreError):
            raise
        said = _said(error)
        raise StoreError(f"{what} failed: {said}. {_next_step(said)}") from error


def _said(error: BaseException) -> str:
    """The driver's own first line, without SQLAlchemy's statement and its values."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__


def _next_step(said: str) -> str:
    if "locked" in said or "lock timeout" in said:
        return "Another program holds it: close it; the next commit tries again"
    if "full" in said or "No space" in said:
        return "Free some disk space; the next commit tries again"
    return "Nothing is lost in memory; the next commit tries again (main.py check tells more)"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")
