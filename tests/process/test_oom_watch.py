"""The kernel's count of its kills, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_workerpool.process.memory import OomWatch

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 7\nmax 12\noom 5\noom_kill {}\noom_group_kill 9\n"


@pytest.mark.parametrize("text", [V1, V2], ids=["v1", "v2"])
def test_it_strikes_once_per_rise(text: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text.format(3))
    watch = OomWatch(counter)
    assert watch.struck() is False, "what was before does not count"
    counter.write_text(text.format(4))
    assert watch.struck() is True
    assert watch.struck() is False
    counter.write_text(text.format(10))
    assert watch.struck() is True


@pytest.mark.parametrize("text", ["", "oom 1\n", "oom_kill many\n", "oom_kill_disable 0\n"])
def test_a_system_that_does_not_count_is_not_guessed_at(text: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text)
    assert OomWatch(counter).struck() is None


def test_a_counter_that_goes_or_comes_is_no_strike(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    watch = OomWatch(counter)
    assert watch.struck() is None
    counter.write_text(V2.format(3))
    assert watch.struck() is None
    assert watch.struck() is False
    counter.unlink()
    assert watch.struck() is None
