"""The soak in short: an evening of a few instruments, and what its judge says of a process that leaks. `make soak` is the long form."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.proofs import soak
from tests.proofs.soak import Sample, judge

FLAT = [Sample(day, day * 6.25 + hour, 1000 * hour, 200.0 + hour, 17, 22) for day in range(3) for hour in range(1, 7)]


def test_a_day_that_repeats_itself_is_flat() -> None:
    assert judge(FLAT) == []
    assert "violations" in soak.line(FLAT, [], 3, 500, 1.0)


@pytest.mark.parametrize(
    ("leak", "says"),
    [
        ({"rss": 15.0}, "memory grows"),
        ({"rss": 250.0}, "resident"),
        ({"threads": 3}, "threads grow"),
        ({"descriptors": 38}, "descriptors grow"),
    ],
)
def test_what_grows_from_day_to_day_is_seen(leak: dict[str, float], says: str) -> None:
    """Planted: so much more of it on each day."""
    [(name, more)] = leak.items()
    leaking = [replace(one, **{name: getattr(one, name) + more * one.day}) for one in FLAT]
    assert any(says in problem for problem in judge(leaking))


def test_a_day_alone_says_nothing() -> None:
    assert judge(FLAT[:6]) == ["samples of 1 days say nothing"]


@pytest.mark.xdist_group("soak")
def test_an_evening_at_the_wire_leaves_threads_and_descriptors_as_they_were(tmp_path: Path) -> None:
    samples, problems = soak.run(tmp_path, 1, 4, begins="14:30", pause_s=0.1)
    assert problems == []
    assert len(samples) > 3
    assert max(one.threads for one in samples) - min(one.threads for one in samples) <= soak.SPARE
    assert max(one.descriptors for one in samples) - min(one.descriptors for one in samples) <= soak.SPARE
