"""The kernel's count of its kills, in both versions of cgroups, and which deaths it explains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.process.oom import FRESH, PERIOD, OomWatch

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 7\nmax 12\noom 5\noom_kill {}\noom_group_kill 9\n"
LONG = 3600.0
#: Seconds between two moments at which the pool is awake.
STEP = 0.5


class Story:
    """What happens in a cgroup, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = self.reads = 0
        self.watch = _Watch(self)

    def kills(self, processes: int = 1) -> None:
        """The kernel kills so many, whoever they are."""
        self.count += processes

    def passes(self, seconds: float, step: float = STEP) -> None:
        """Time in which the pool is awake now and then."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            self.watch.look(self.now)

    def sleeps(self, seconds: float) -> None:
        """Time in which it is not."""
        self.now += seconds

    def loses(self, after: float = 10.0) -> bool | None:
        """A child dies whose task has run for so long: by the kernel's hand?"""
        return self.watch.struck(self.now - after, self.now)


class _Watch(OomWatch):
    def __init__(self, story: Story) -> None:
        self._story = story
        super().__init__(0.0, Path("/nowhere"))

    def _read(self) -> int:
        self._story.reads += 1
        return self._story.count


@pytest.mark.parametrize("text", [V1, V2], ids=["v1", "v2"])
def test_a_rise_explains_as_many_deaths_as_it_counts(text: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text.format(3))
    watch = OomWatch(0.0, counter)
    assert watch.struck(0.0, 0.0) is False, "what was before does not count"
    counter.write_text(text.format(4))
    assert watch.struck(0.0, 0.1) is True
    assert watch.struck(0.0, 0.2) is False
    counter.write_text(text.format(6))
    assert [watch.struck(0.0, 0.3 + i / 10) for i in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["", "oom 1\n", "oom_kill many\n", "oom_kill_disable 0\n"])
def test_a_system_that_does_not_count_is_not_guessed_at(text: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text)
    assert OomWatch(0.0, counter).struck(0.0, 0.0) is None


def test_a_counter_that_goes_or_comes_is_no_strike(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    watch = OomWatch(0.0, counter)
    assert watch.struck(0.0, 0.0) is None
    counter.write_text(V2.format(3))
    assert watch.struck(0.0, 0.0) is None
    assert watch.struck(0.0, 0.0) is False
    counter.unlink()
    assert watch.struck(0.0, 0.0) is None


def killed_long_ago(story: Story) -> None:
    story.kills(3)
    story.passes(60.0)


def killed_a_moment_ago_and_seen_since(story: Story) -> None:
    story.kills()
    story.passes(FRESH - 1.0)


def killed_while_the_loop_was_late(story: Story) -> None:
    story.kills()
    story.sleeps(3 * FRESH)


def killed_while_nobody_looked(story: Story) -> None:
    """No child ran a task, and there are no signs of life to listen for."""
    story.sleeps(LONG)
    story.kills()
    story.sleeps(LONG)


def lowered(story: Story) -> None:
    """The process was moved to another cgroup."""
    story.count = 0
    story.passes(2.0)


@pytest.mark.parametrize(
    ("before", "ran", "found"),
    [
        (killed_long_ago, 10.0, False),
        (killed_long_ago, 600.0, False),
        (killed_a_moment_ago_and_seen_since, 0.5, True),
        (killed_while_the_loop_was_late, 3 * FRESH + 1.0, True),
        (killed_while_nobody_looked, 0.5, None),
        (lowered, 10.0, False),
    ],
)
def test_only_a_rise_of_just_before_is_evidence(
    before: Callable[[Story], None], ran: float, found: bool | None
) -> None:
    story = Story()
    story.passes(20.0)
    before(story)
    assert story.loses(ran) is found
    story.passes(2 * FRESH)
    assert story.loses() is False


EVENTS = st.one_of(
    st.tuples(st.just("kills"), st.integers(1, 3)),
    st.tuples(st.just("passes"), st.floats(0.1, 8.0)),
    st.tuples(st.just("loses"), st.just(10.0)),
)


@given(st.lists(EVENTS, max_size=40))
def test_no_kill_explains_two_deaths_and_none_a_late_one(events: list[tuple[str, float]]) -> None:
    story, found = Story(), 0
    last_kill = -LONG
    for name, value in events:
        if name == "loses" and story.loses():
            found += 1
            assert story.now - last_kill <= FRESH + PERIOD + STEP
        elif name == "kills":
            story.kills(int(value))
            last_kill = story.now
        elif name == "passes":
            story.passes(value)
    assert found <= story.count


@given(st.lists(st.floats(0.001, 3.0), max_size=60))
def test_the_counter_is_read_once_a_second_at_most(steps: list[float]) -> None:
    story = Story()
    for step in steps:
        story.passes(step, step)
    assert story.reads <= 1 + story.now / PERIOD
