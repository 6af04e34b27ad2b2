"""accounts.sqlite: opened by the web process and the command line, never by the engine; each use is one short transaction."""

import os
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
