"""Which run a daemon enters, which one read-outs show, and that only one daemon gets in."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import ConfigError, NiyamError
from core.types import AccountKind
from runtime.state_folder import Lock, account_folder, current, enter, ledger_url, of_account, show
from tests.builders import T0

PRACTICE = AccountKind.PRACTICE


class Passwords:
    def get_secret(self, name: str) -> str:
        return {"NIYAM_DATABASE_PASSWORD": "p@ss/word"}[name]


def test_each_practice_run_starts_fresh_and_read_outs_show_the_latest(tmp_path: Path) -> None:
    first, continues = enter(tmp_path, "practice", PRACTICE, T0)
    first.finish(T0)
    second, again = enter(tmp_path, "practice", PRACTICE, T0)  # within the same second
    assert (continues, again) == (False, False)
    assert first.path != second.path
    assert current(tmp_path) == second
    assert all(part.is_dir() for part in (second.audit, second.instruments, second.recordings, second.session, second.log))


def test_a_run_that_died_is_gone_on_with(tmp_path: Path) -> None:
    died, _ = enter(tmp_path, "practice", PRACTICE, T0)
    died.note(seed=7)
    entered, continues = enter(tmp_path, "practice", PRACTICE, T0 + timedelta(minutes=1))
    assert (entered, continues) == (died, True)
    assert entered.about()["seed"] == 7
    assert not entered.ended


def test_resume_goes_on_with_a_run_that_ended(tmp_path: Path) -> None:
    ended, _ = enter(tmp_path, "practice", PRACTICE, T0)
    ended.finish(T0)
    entered, continues = enter(tmp_path, "practice", PRACTICE, T0, resume=True)
    assert (entered, continues) == (ended, True)


def test_a_refused_run_is_neither_gone_on_with_nor_read_out(tmp_path: Path) -> None:
    traded, _ = enter(tmp_path, "practice", PRACTICE, T0)
    traded.finish(T0)
    refused, _ = enter(tmp_path, "practice", PRACTICE, T0 + timedelta(minutes=1))
    refused.refuse(T0 + timedelta(minutes=1))
    show(tmp_path, [traded])
    assert of_account(tmp_path, "practice") == traded
    assert enter(tmp_path, "practice", PRACTICE, T0 + timedelta(minutes=2), resume=True) == (traded, True)


def test_resume_with_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no earlier run"):
        enter(tmp_path, "practice", PRACTICE, T0, resume=True)


def test_another_accounts_dead_run_is_not_taken_over(tmp_path: Path) -> None:
    died, _ = enter(tmp_path, "practice", PRACTICE, T0)
    entered, continues = enter(tmp_path, "practice-live", AccountKind.PRACTICE_LIVE, T0 + timedelta(minutes=1))
    assert entered != died
    assert not continues


def test_a_paper_account_has_one_folder_for_ever(tmp_path: Path) -> None:
    first, continues = enter(tmp_path, "mine", AccountKind.PAPER, T0)
    first.finish(T0)
    second, again = enter(tmp_path, "mine", AccountKind.PAPER, T0 + timedelta(days=1))
    assert first == second == account_folder(tmp_path, "mine")
    assert (continues, again) == (False, True)


def test_the_pointer_survives_moving_the_state_folder(tmp_path: Path) -> None:
    enter(tmp_path / "var", "practice", PRACTICE, T0)
    (tmp_path / "var").rename(tmp_path / "moved")
    found = current(tmp_path / "moved")
    assert found is not None
    assert found.about()["account"] == "practice"


def test_nothing_is_current_before_the_first_run(tmp_path: Path) -> None:
    assert current(tmp_path) is None


def test_the_simulators_address_outlives_the_daemon(tmp_path: Path) -> None:
    run, _ = enter(tmp_path, "practice", PRACTICE, T0)
    assert run.simulator() is None
    run.save_simulator({"admin": "http://127.0.0.1:1", "pid": 42})
    found = current(tmp_path)
    assert found is not None
    assert found.simulator() == {"admin": "http://127.0.0.1:1", "pid": 42}
    run.save_simulator(None)
    assert run.simulator() is None


def test_a_file_that_is_not_ours_is_an_error_with_its_name(tmp_path: Path) -> None:
    run, _ = enter(tmp_path, "practice", PRACTICE, T0)
    (run.path / "run.json").write_text("{broken")
    with pytest.raises(NiyamError, match=r"run\.json is not the JSON"):
        run.about()


def test_a_second_daemon_is_refused_by_name(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", f"from pathlib import Path\nfrom runtime.state_folder import Lock\n"
         f"with Lock(Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(NiyamError, match=rf"another daemon \(process {holder.pid}\)"), Lock(tmp_path):
        pass
    holder.kill()  # the kernel frees the lock, however the holder ended
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()
    with Lock(tmp_path):
        pass


def test_the_ledger_is_a_file_of_the_run_unless_a_trading_account_names_a_database(tmp_path: Path) -> None:
    run, _ = enter(tmp_path, "practice", PRACTICE, T0)
    server = "postgresql://niyam@db/ledger"
    assert ledger_url(run, PRACTICE, server, Passwords()) == run.ledger_url
    assert ledger_url(run, AccountKind.LIVE, "sqlite", Passwords()) == run.ledger_url
    assert ledger_url(run, AccountKind.LIVE, server, Passwords()) == "postgresql+psycopg://niyam:p%40ss%2Fword@db/ledger"
    assert ledger_url(run, AccountKind.LIVE, "postgresql://localhost/ledger", Passwords()) == "postgresql+psycopg://localhost/ledger"
