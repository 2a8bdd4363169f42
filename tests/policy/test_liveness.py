"""What a worker answers to probes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.policy.liveness import Condition, Signs, judge

SIGNS = st.builds(
    Signs,
    loop_age=st.none() | st.floats(0, 100),
    connected=st.booleans(),
    was_connected=st.booleans(),
    children=st.integers(0, 3),
    wanted=st.integers(0, 3),
    stopping=st.booleans(),
    asks_broker=st.booleans(),
)
GOOD = Signs(
    loop_age=0.5,
    connected=True,
    was_connected=True,
    children=2,
    wanted=2,
    stopping=False,
    asks_broker=False,
)


def changed(**signs: object) -> Condition:
    return judge(replace(GOOD, **signs), 30.0).condition  # type: ignore[arg-type]


@given(SIGNS)
def test_only_a_stuck_loop_is_not_live(signs: Signs) -> None:
    health = judge(signs, 30.0)
    still = signs.loop_age is not None and signs.loop_age > 30.0
    stuck = still and not signs.asks_broker
    assert health.live == (not stuck) == (health.condition is not Condition.STUCK)


@given(SIGNS)
def test_ready_is_who_takes_tasks(signs: Signs) -> None:
    health = judge(signs, 30.0)
    assert health.ready == (health.condition is Condition.READY)
    assert not health.ready or (health.live and signs.connected and not signs.stopping)
    assert not health.ready or signs.children or not signs.wanted
    assert health.reason


def test_each_condition() -> None:
    assert judge(GOOD, 30.0).ready
    assert changed(loop_age=31.0) is Condition.STUCK
    assert changed(loop_age=31.0, stopping=True) is Condition.STUCK
    assert changed(connected=False, loop_age=None) is Condition.BROKER_DOWN
    assert changed(connected=False, was_connected=False) is Condition.STARTING
    assert changed(children=0) is Condition.NO_CHILDREN
    assert changed(children=0, wanted=0) is Condition.READY
    assert changed(children=1, wanted=0) is Condition.READY, "on its way out"
    assert changed(stopping=True, connected=False) is Condition.STOPPING


def test_a_broker_that_does_not_answer_is_no_reason_for_a_restart() -> None:
    health = judge(replace(GOOD, loop_age=42.0, asks_broker=True), 30.0)
    assert (health.condition, health.live, health.ready) == (Condition.BROKER_DOWN, True, False)
    assert health.reason == "the broker has not answered for 42 s"
    assert changed(asks_broker=True) is Condition.READY, "a call that may be answered soon"
    assert changed(loop_age=42.0, asks_broker=True, stopping=True) is Condition.BROKER_DOWN
