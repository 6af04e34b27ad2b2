"""How a ledger is reached: engines for SQLite and PostgreSQL, the schema's version, and migrating it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from core.errors import StoreError
from storage.models import HEAD

LOCK_WAIT_S = 2.0  # a writer waits no longer for another's lock; then the engine halts entries
_ADVISORY_LOCK = 0x6E697961  # "niya": one writer for each PostgreSQL ledger


@dataclass(frozen=True, slots=True)
class Schema:
    """What one kind of database file is called, its newest version, and the folder with the steps to it."""

    name: str
    head: str
    migrations: Path


LEDGER = Schema("ledger", HEAD, Path(__file__).parent / "migrations")


def writing_engine(url: str) -> Engine:
    """An engine whose one connection may write. The driver is in autocommit: the store says BEGIN and COMMIT itself."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": LOCK_WAIT_S, "check_same_thread": False},
        )
        event.listen(engine, "connect", _durable_sqlite)
    else:
        engine = create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        event.listen(engine, "connect", _sole_postgresql)
    return engine


def reading_engine(url: str) -> Engine:
    """An engine that cannot write; StoreError if there is no such ledger file."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        if not path.is_file():
            raise StoreError(f"there is no ledger at {path}; nothing has run with this state folder yet (main.py run makes one)")

        def connect() -> sqlite3.Connection:
            # Not mode=ro: after a kill the write-ahead log must be recovered by whoever opens first.
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw", uri=True, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = ON")
            return connection

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)
    engine = create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    event.listen(engine, "connect", _reading_postgresql)
    return engine


def shown(url: str) -> str:
    """The URL for messages, its password hidden."""
    return str(_parsed(url).render_as_string(hide_password=True))


def version(connection: Connection) -> str | None:
    """The schema's version; None where there is no ledger yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def require_head(connection: Connection, url: str) -> None:
    """StoreError unless the ledger is exactly of this code's version (readers do not migrate)."""
    found = version(connection)
    if found is None:
        raise StoreError(f"{shown(url)} holds no ledger; nothing has run with it yet (main.py run makes one)")
    if found != HEAD:
        _refuse_newer(found, url, LEDGER)
        raise StoreError(
            f"the ledger at {shown(url)} has schema {found}, this program reads {HEAD}; start `main.py run` once to migrate it"
        )


def migrate(connection: Connection, url: str, schema: Schema = LEDGER) -> None:
    """Bring the database to its schema's head in one transaction; there already, nothing is imported or done."""
    found = version(connection)
    if found == schema.head:
        return
    if found is not None:
        _refuse_newer(found, url, schema)
    from alembic import command

    config = _alembic_config(schema)
    config.attributes["connection"] = connection
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN")
    command.upgrade(config, "head")
    connection.exec_driver_sql("COMMIT")


def _refuse_newer(found: str, url: str, schema: Schema) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_alembic_config(schema)).walk_revisions()}
    if found not in known:
        raise StoreError(
            f"the {schema.name} at {shown(url)} has schema {found}, which this program (schema {schema.head}) does not know: a newer "
            f"version wrote it. Run that version again, or restore the copy made before the upgrade"
        )


def _alembic_config(schema: Schema) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.migrations).replace("%", "%%"))
    return config


def _parsed(url: str) -> Any:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise StoreError(f"database.url names {parsed.get_backend_name()!r}; the ledger knows sqlite and postgresql+psycopg")
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError("database.url is not a database URL; write e.g. sqlite:////abs/ledger.sqlite") from error
    return parsed


def _durable_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode not in ("wal", "memory"):
        raise StoreError(f"the ledger's file system does not allow SQLite's write-ahead log (journal_mode {mode}); use a local disk")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _sole_postgresql(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET synchronous_commit = on; SET lock_timeout = '{LOCK_WAIT_S:.0f}s'; SET statement_timeout = '10s'")
    taken = cursor.execute(
        "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))",
        (_ADVISORY_LOCK,),
    ).fetchone()[0]
    cursor.close()
    if not connection.autocommit:
        connection.commit()
    if not taken:
        raise StoreError("another process writes this PostgreSQL ledger; stop it first (one daemon for each account)")


def _reading_postgresql(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET default_transaction_read_only = on; SET statement_timeout = '10s'")
    cursor.close()
    if not connection.autocommit:
        connection.commit()
