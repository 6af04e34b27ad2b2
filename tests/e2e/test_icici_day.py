"""Whole practice days at ICICI's simulator: flat at the end and twice the same."""

from pathlib import Path

import pytest

from tests.e2e.stage import Stage


@pytest.mark.parametrize("account", ["practice", "practice-live"])
def test_the_same_seed_is_the_same_day(tmp_path: Path, account: str) -> None:
    digests = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Stage(folder) as stage:
            daemon = stage.play("--broker", "icici", "--start", "14:30", "--speed", "max", "--seed", "2", account=account)
            report = stage.report()
            assert report["trades"] >= 3, daemon.said
            assert stage.call("status", "--json").json["flat"] is True
            digests.append(report["digest"])
    assert digests[0] == digests[1]
