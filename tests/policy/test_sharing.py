"""When a busy worker looks for an idle one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.policy.sharing import LONGEST, RECENT, Load, Promises, Sharing

BUSY = Load(running=2, target=2, waiting=3)
IDLE = Load(running=1, target=2, waiting=0)
LOADS = st.builds(Load, st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))


def make(after: float = 1.0) -> Sharing:
    return Sharing(after, lambda: 1.0)


def test_it_asks_less_and_less_often_while_nobody_answers() -> None:
    sharing = make()
    asked = [n / 10 for n in range(600) if sharing.decide(BUSY, 5.0, n / 10).ask]
    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0, 30.0, 45.0]


def test_an_answer_makes_it_ask_soon_again() -> None:
    sharing = make()
    for now in (0.0, 1.0, 3.0):
        assert sharing.decide(BUSY, 5.0, now).ask
    sharing.answered(3.1)
    assert not sharing.decide(BUSY, 5.0, 3.5).ask
    assert sharing.decide(BUSY, 5.0, 3.7).ask


def test_a_worker_that_was_idle_meanwhile_begins_anew() -> None:
    sharing = make()
    for now in (0.0, 1.0, 3.0, 7.0):
        sharing.decide(BUSY, 5.0, now)
    assert not sharing.decide(IDLE, None, 7.5).ask
    assert sharing.decide(BUSY, 5.0, 8.0).ask


@given(
    st.lists(st.tuples(LOADS, st.none() | st.floats(0, 5), st.floats(0, 3))),
    st.floats(0.1, 4),
    st.floats(0.75, 1.25),
)
def test_it_asks_only_with_reason_and_not_too_often(
    history: list[tuple[Load, float | None, float]], after: float, jitter: float
) -> None:
    sharing, now, last, idle_since = Sharing(after, lambda: jitter), 0.0, -1e9, True
    for load, wait, passed in history:
        now += passed
        decision = sharing.decide(load, wait, now)
        assert decision.reason
        if decision.ask:
            assert load.saturated
            assert wait is not None and wait >= after
            assert idle_since or now - last >= after * 0.75 - 1e-9
            assert jitter * LONGEST < 20
            last, idle_since = now, False
        idle_since = idle_since or not load.saturated


@given(st.lists(st.tuples(LOADS, st.integers(-5, 20), st.floats(0, 1))), st.integers(1, 8))
def test_no_child_is_promised_twice_at_a_time_nor_more_than_it_would_fetch(
    history: list[tuple[Load, int, float]], ahead: int
) -> None:
    promises, now, ended = Promises(lasting=1.0, ahead=ahead), 0.0, 0
    open_: list[tuple[float, int]] = []
    for load, more, passed in history:
        now += passed
        ended += more  # Less, where a child was replaced.
        open_ = [(until, n) for until, n in open_ if until > now]
        free = load.target - load.running - load.waiting - sum(n for _, n in open_)
        offered = promises.offer(load, ended, now)
        assert (offered > 0) == (free > 0)
        if free > 0:
            assert free <= offered <= free * ahead
            open_.append((now + 1.0, free))


def rounds(promises: Promises, ends: float, rounds: int) -> list[int]:
    """What an idle worker of two children offers, that ends so many in each round at most."""
    offers, ended, now = [], 0, 0.0
    for _ in range(rounds):
        offers.append(promises.offer(Load(0, 2, 0), ended, now))
        ended += int(min(offers[-1], ends))
        now += 0.6
    return offers


def test_what_is_offered_follows_the_pace_at_which_it_is_taken() -> None:
    assert rounds(Promises(0.5, 16), 100, 7) == [2, 4, 8, 16, 32, 32, 32]
    assert rounds(Promises(0.5, 16), 3, 5) == [2, 4, 6, 6, 6]
    assert rounds(Promises(0.5, 16), 0, 3) == [2, 2, 2]


def test_who_fetches_one_task_for_each_child_gets_one_for_each() -> None:
    assert rounds(Promises(0.5, 1), 100, 4) == [2, 2, 2, 2]


def test_a_pace_of_long_ago_says_nothing() -> None:
    promises = Promises(0.5, 16)
    assert promises.offer(Load(0, 2, 0), 0, 0.0) == 2
    assert promises.offer(Load(0, 2, 0), 50, 2 * RECENT) == 2
    assert promises.offer(Load(0, 2, 0), 58, 2 * RECENT + 1.0) == 16
