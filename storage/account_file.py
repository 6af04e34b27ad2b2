"""accounts.sqlite: opened by the web process and the command line, never by the engine; each use is one short transaction."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.errors import StoreError
from storage import account_models, connecting

NAME = "accounts.sqlite"
SCHEMA = connecting.Schema("accounts file", account_models.HEAD, Path(__file__).parent / "accounts_migrations")


class AccountFile:
    """The file in a state folder, made (mode 0600) and migrated where it is not there."""

    def __init__(self, state: Path) -> None:
        self.path = state / NAME
        state.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._watch: tuple[int, sqlite3.Connection] | None = None  # the file's number, and a connection that is told of every change of it
        self._watching = threading.Lock()
        url = f"sqlite:///{self.path.resolve()}"
        self._engine = connecting.writing_engine(url)
        try:
            with self._engine.connect() as connection:
                connecting.migrate(connection, url, SCHEMA)
        except DBAPIError as error:
            raise StoreError(f"{self.path} cannot be opened ({error.orig}); restore a copy of it, or move it away to begin anew") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to look with."""
        with self._used() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it, or nothing when the body raises."""
        with self._used() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def change(self) -> tuple[int, int]:
        """What is another after any change of the file, whichever process made it: whoever keeps what it read knows whether that holds.

        Costs some microseconds: SQLite looks at the shared memory of its write-ahead log.
        """
        try:
            number = self.path.stat().st_ino
            with self._watching:
                if self._watch is None or self._watch[0] != number:
                    if self._watch is not None:
                        self._watch[1].close()
                    self._watch = number, sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                return number, int(self._watch[1].execute("PRAGMA data_version").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}") from None

    @contextmanager
    def _used(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            # the driver's own words alone: the statement's parameters may be anything
            raise StoreError(f"{self.path}: {error.orig}") from None


def exists(state: Path) -> bool:
    """Whether anybody has made one here."""
    return (state / NAME).exists()
