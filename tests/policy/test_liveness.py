"""What a worker answers to probes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.policy.liveness import Condition, Signs, judge

SIGNS = st.builds(
    Signs,
    loop_age=st.none() | st.floats(0, 100),
    connected=st.booleans(),
    was_connected=st.booleans(),
    children=st.integers(0, 3),
    stopping=st.booleans(),
)
GOOD = Signs(loop_age=0.5, connected=True, was_connected=True, children=2, stopping=False)


def changed(**signs: object) -> Condition:
    values = {name: getattr(GOOD, name) for name in Signs.__slots__} | signs
    return judge(Signs(**values), 30.0).condition


@given(SIGNS)
def test_only_a_stuck_loop_is_not_live(signs: Signs) -> None:
    health = judge(signs, 30.0)
    stuck = signs.loop_age is not None and signs.loop_age > 30.0
    assert health.live == (not stuck) == (health.condition is not Condition.STUCK)


@given(SIGNS)
def test_ready_is_who_takes_tasks(signs: Signs) -> None:
    health = judge(signs, 30.0)
    assert health.ready == (health.condition is Condition.READY)
    assert not health.ready or (
        health.live and signs.connected and signs.children and not signs.stopping
    )
    assert health.reason


def test_each_condition() -> None:
    assert judge(GOOD, 30.0).ready
    assert changed(loop_age=31.0) is Condition.STUCK
    assert changed(loop_age=31.0, stopping=True) is Condition.STUCK
    assert changed(connected=False, loop_age=None) is Condition.BROKER_DOWN
    assert changed(connected=False, was_connected=False) is Condition.STARTING
    assert changed(children=0) is Condition.NO_CHILDREN
    assert changed(stopping=True, connected=False) is Condition.STOPPING
