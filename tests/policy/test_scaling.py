"""How many children a pool should have."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.policy.scaling import (
    BLINK,
    HELD,
    MOST_PATIENT,
    SOON,
    STEP,
    Decision,
    Load,
    Room,
    Scaler,
    ScalingRules,
)

RULES = ScalingRules(min_workers=2, max_workers=8)


def no_limit() -> Room:
    return Room(inf, "")


class Story:
    """A pool whose load is told second by second; children work exactly as long as is said."""

    def __init__(self, rules: ScalingRules = RULES, size: int | None = None) -> None:
        self.scaler = Scaler(rules)
        self.size = rules.min_workers if size is None else size
        self.now = 0.0
        self.busy_seconds = 0.0
        self.decisions: list[tuple[float, Decision]] = []
        self.room = Room(inf, "")

    def goes_on(self, seconds: float, busy: int, waiting: int = 0, long_idle: int = 0) -> None:
        """For so long, so many (of the children there are) are busy."""
        until = self.now + seconds
        while self.now < until:
            step = min(0.25, until - self.now)
            self.now += step
            working = min(busy, self.size)
            self.busy_seconds += working * step
            load = Load(self.size, working, waiting, self.busy_seconds, long_idle)
            decision = self.scaler.decide(load, self.now, lambda: self.room)
            if decision is not None:
                self.decisions.append((self.now, decision))
                self.size = decision.target

    @property
    def sizes(self) -> list[int]:
        return [decision.target for _, decision in self.decisions]

    @property
    def reason(self) -> str:
        return self.decisions[-1][1].reason


# ── up ───────────────────────────────────────────────────────────────────────────────────────


def test_a_step_of_load_is_answered_at_once_and_room_is_left_for_the_next_tasks() -> None:
    """Four children for six tasks would wait for the next one; six of eight are 70 %."""
    story = Story()
    story.goes_on(10, busy=0)
    story.goes_on(0.25, busy=2, waiting=4)
    assert story.sizes == [8]
    assert story.reason == "utilization 3.00 with 4 waiting, 0.7 or more"


@pytest.mark.parametrize(
    ("threshold", "sizes"), [(1.0, [5]), (0.7, [7]), (0.5, [10]), (0.1, [20]), (0.0, [20])]
)
def test_the_threshold_says_how_much_room(threshold: float, sizes: list[int]) -> None:
    story = Story(ScalingRules(2, 20, up_threshold=threshold, down_threshold=0.0))
    story.goes_on(0.25, busy=2, waiting=3)
    assert story.sizes == sizes


def test_growth_stops_at_the_most_there_may_be() -> None:
    story = Story()
    story.goes_on(1, busy=8, waiting=100)
    assert story.sizes == [8]
    story.goes_on(300, busy=8, waiting=100)
    assert story.sizes == [8]


def test_the_next_growth_has_to_wait() -> None:
    story = Story(ScalingRules(2, 20))
    story.goes_on(0.25, busy=8, waiting=2)
    story.goes_on(10, busy=8)
    story.goes_on(19.5, busy=8, waiting=4)
    assert story.sizes == [5]
    story.goes_on(1, busy=8, waiting=4)
    assert story.sizes == [5, 12]


def test_one_time_of_growing_takes_a_quarter_of_the_cooldown() -> None:
    """The tasks of a burst come one after the other; then it is over for a while."""
    story = Story(ScalingRules(1, 100))
    for _ in range(40):
        story.goes_on(1, busy=story.size, waiting=1)
    first, *more = [at for at, _ in story.decisions]
    assert first == 0.25
    assert any(at < first + 7.5 for at in more)
    assert not [at for at in more if first + 7.5 <= at < first + 30]
    assert max(more) >= first + 30


def test_tasks_that_have_children_on_the_way_are_no_reason_to_grow() -> None:
    story = Story(size=6)
    story.goes_on(10, busy=2, waiting=4)
    assert story.sizes == []


def test_a_pool_of_none_grows_for_its_first_task() -> None:
    story = Story(ScalingRules(0, 4))
    story.goes_on(1, busy=0, waiting=1)
    assert story.sizes == [1]


@pytest.mark.parametrize(
    ("room", "sizes"),
    [
        (Room(3, "memory for 3 more, 50.0 MiB each"), [5]),
        (Room(0, "its children use 1.98 of 2 CPUs"), [2]),
        (Room(-1, "memory for none"), [2]),
    ],
)
def test_the_machine_has_the_last_word_and_its_reason_shows(room: Room, sizes: list[int]) -> None:
    story = Story()
    story.room = room
    story.goes_on(0.25, busy=8, waiting=6)
    assert story.sizes == sizes
    assert story.reason == f"utilization 4.00 with 6 waiting, 0.7 or more; {room.reason}"


def test_growth_that_the_machine_held_back_is_tried_again() -> None:
    story = Story()
    story.room = Room(0, "no memory")
    story.goes_on(4 * HELD, busy=8, waiting=6)
    assert story.sizes == [2] * 4
    story.room = no_limit()
    story.goes_on(HELD, busy=8, waiting=6)
    assert story.size == 8


def test_growth_is_put_off_while_the_machine_is_not_known_and_then_is_as_ever() -> None:
    story = Story()
    story.room = Room(0, "not known yet", known=False)
    story.goes_on(2 * HELD, busy=8, waiting=6)
    assert story.sizes == []
    load = Load(2, 2, 6, story.busy_seconds)
    assert story.scaler.next_look(load, story.now) == story.now + BLINK
    story.room = no_limit()
    story.goes_on(0.25, busy=8, waiting=6)
    assert story.sizes == [8]
    waits = Load(4, 4, 6, story.busy_seconds)
    assert story.scaler.next_look(waits, story.now) == story.now + SOON


# ── down ─────────────────────────────────────────────────────────────────────────────────────


def test_after_a_calm_quarter_of_the_cooldown_the_pool_shrinks_to_what_it_needed() -> None:
    story = Story(size=8)
    story.goes_on(60, busy=8)
    story.goes_on(14.5, busy=2)
    assert story.sizes == []
    story.goes_on(1, busy=2)
    assert story.sizes == [2]
    assert story.reason == "utilization 0.25 over 15 s, 0.3 or less; 2.0 busy at most"


def test_it_never_shrinks_below_what_is_busy_or_the_minimum() -> None:
    story = Story(ScalingRules(3, 20), size=20)
    story.goes_on(20, busy=5)
    assert story.sizes == [5]
    story = Story(ScalingRules(3, 20), size=20)
    story.goes_on(20, busy=0)
    assert story.sizes == [3]


def test_a_steady_trickle_does_not_keep_the_pool_large() -> None:
    story = Story(size=8)
    for _ in range(60):
        story.goes_on(0.25, busy=1)
        story.goes_on(0.75, busy=0)
    assert story.sizes == [2]


def test_one_busy_second_in_the_while_is_a_reason_to_stay() -> None:
    story = Story(ScalingRules(2, 8, idle_timeout=3600.0), size=8)
    for _ in range(40):
        story.goes_on(10, busy=0)
        story.goes_on(1, busy=8)
    assert story.sizes == []


def test_an_idle_child_goes_in_time_whatever_the_utilization() -> None:
    story = Story(size=8)
    story.goes_on(20, busy=5)
    assert story.sizes == []
    story.goes_on(1, busy=5, long_idle=2)
    assert story.sizes == [6]
    assert story.reason == "2 idle for 300 s"
    story.goes_on(59, busy=5, long_idle=1)
    assert story.sizes == [6]


def test_going_down_too_early_makes_patient() -> None:
    """Bursts that come as soon as the pool has shrunk: it stops following them."""
    story = Story()
    for _ in range(60):
        story.goes_on(4, busy=8, waiting=10)
        story.goes_on(36, busy=0)
    assert story.sizes == [8, 2, 8]
    assert story.scaler.patience == MOST_PATIENT


def test_growth_that_shows_that_going_down_was_too_early_makes_room_for_twice_the_work() -> None:
    story = Story(ScalingRules(2, 20), size=8)
    story.goes_on(20, busy=0)
    story.goes_on(0.25, busy=2, waiting=1)
    assert story.sizes == [2, 8]
    assert story.reason == "utilization 1.50 with 1 waiting, 0.7 or more; has just shrunk"


def test_it_does_not_shrink_right_after_it_has_grown() -> None:
    story = Story()
    story.goes_on(1, busy=8, waiting=10)
    story.goes_on(29, busy=0)
    assert story.sizes == [8]
    story.goes_on(1, busy=0)
    assert story.sizes == [8, 2]


def test_patience_wears_off_when_it_was_not_needed() -> None:
    story = Story()
    for _ in range(10):
        story.goes_on(4, busy=8, waiting=10)
        story.goes_on(36, busy=0)
    for _ in range(4):
        story.goes_on(4, busy=8, waiting=10)
        story.goes_on(600, busy=0)
    assert story.size == 2
    assert story.scaler.patience == 1


def test_patience_wears_off_though_nobody_looks_at_a_pool_of_the_fewest() -> None:
    story = Story()
    for _ in range(3):
        story.goes_on(4, busy=8, waiting=10)
        story.goes_on(36, busy=0)
    story.goes_on(61, busy=0)
    assert (story.size, story.scaler.patience) == (2, MOST_PATIENT)
    story.now += 600
    story.goes_on(0.25, busy=2, waiting=1)
    assert (story.size, story.scaler.patience) == (4, MOST_PATIENT // 2)


# ── neither calm nor short of children ───────────────────────────────────────────────────────


def test_a_steady_load_ends_with_the_children_it_needs_and_some_to_spare() -> None:
    story = Story(size=8)
    story.goes_on(299, busy=3)
    assert story.sizes == []
    story.goes_on(600, busy=3)
    assert story.sizes == [5]
    assert story.reason == "in 300 s at most 3.0 busy over 15 s, 3.0 at once"


def test_what_runs_at_once_for_a_moment_does_not_wait_for_a_second_round_afterwards() -> None:
    story = Story(size=8)
    for _ in range(30):
        story.goes_on(9, busy=0)
        story.goes_on(1, busy=8)
    story.goes_on(1, busy=0)
    assert story.sizes == [5]


def test_where_tasks_have_waited_the_pool_is_not_too_large() -> None:
    story = Story(size=8)
    for _ in range(10):
        story.goes_on(100, busy=3)
        story.goes_on(1, busy=8, waiting=1)
    assert story.sizes == []


def test_the_next_try_waits_longer_each_time_that_a_size_was_too_small() -> None:
    """Three are busy, but eight tasks come together once the pool believes that five are enough."""
    story = Story(size=8)
    for _ in range(4 * 3600):
        story.goes_on(1, busy=3)
        if story.size < 8:
            story.goes_on(2, busy=8, waiting=8)
    shrunk = [at for at, decision in story.decisions if decision.target < decision.before]
    pauses = [later - at for at, later in pairwise(shrunk)]
    assert [round(pause / RULES.idle_timeout) for pause in pauses] == [4, 8, 16, 16]


# ── bounds ───────────────────────────────────────────────────────────────────────────────────


def test_new_bounds_hold_at_once_and_do_not_wait_for_a_cooldown() -> None:
    story = Story()
    story.goes_on(1, busy=8, waiting=6)
    story.scaler.rules = ScalingRules(1, 4)
    story.goes_on(0.25, busy=8, waiting=6)
    story.scaler.rules = ScalingRules(6, 6)
    story.goes_on(0.25, busy=8, waiting=6)
    assert story.sizes == [8, 4, 6]
    assert story.reason == "at least 6 wanted"


def test_nobody_looks_where_nothing_can_come_of_it() -> None:
    scaler = Scaler(RULES)
    assert scaler.next_look(Load(2, 1, 0, 5.0), 7.0) == inf
    assert scaler.next_look(Load(8, 8, 20, 5.0), 7.0) == 8.0
    assert scaler.next_look(Load(3, 3, 1, 5.0), 7.0) == 7.125
    assert Scaler(ScalingRules(4, 4)).next_look(Load(4, 4, 99, 5.0), 7.0) == inf


@st.composite
def loads(draw: st.DrawFn) -> list[tuple[float, int, int]]:
    moment = st.tuples(
        st.floats(0.1, 90.0), st.integers(0, 20), st.one_of(st.just(0), st.integers(0, 30))
    )
    return draw(st.lists(moment, max_size=25))


@given(
    load=loads(),
    low=st.integers(0, 5),
    more=st.integers(0, 10),
    room=st.one_of(st.just(inf), st.integers(-2, 5)),
    cooldowns=st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_bounds_and_cooldowns_are_kept_and_reasons_given(
    load: list[tuple[float, int, int]],
    low: int,
    more: int,
    room: float,
    cooldowns: tuple[float, float],
) -> None:
    up_cooldown, down_cooldown = cooldowns
    rules = ScalingRules(
        low, max(1, low + more), up_cooldown=up_cooldown, down_cooldown=down_cooldown
    )
    story = Story(rules)
    story.room = Room(room, "the machine says so")
    for seconds, busy, waiting in load:
        story.goes_on(seconds, busy, waiting)
    for _, decision in story.decisions:
        assert rules.min_workers <= decision.target <= rules.max_workers
        assert decision.reason
        assert decision.target - decision.before <= max(0, room)
    grown = [at for at, d in story.decisions if d.target > d.before]
    shrunk = [at for at, d in story.decisions if d.target < d.before]
    times: list[float] = []  # of growing; one takes a quarter of the cooldown at most
    for at in grown:
        if not times or at - times[-1] >= up_cooldown * STEP:
            times.append(at)
    assert all(b - a >= up_cooldown - 1e-6 for a, b in pairwise(times))
    assert all(b - a >= down_cooldown - 1e-6 for a, b in pairwise(shrunk))
    assert 1 <= story.scaler.patience <= MOST_PATIENT
