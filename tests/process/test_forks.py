"""What a task forks, and the signals that come while it does."""

from __future__ import annotations

import signal

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from celery_workerpool.process.interrupts import SOFT_LIMIT, Interrupts
from tests.support.pool import Pool

from . import victims


def test_a_process_that_is_terminated_as_soon_as_it_is_there_dies_of_it() -> None:
    """At whatever moment of its first steps; as ``multiprocessing`` ends its workers."""
    with Pool(1) as pool:
        assert pool.run(victims.fork_and_terminate_at_once, 150).value == [-signal.SIGTERM] * 150


def test_a_soft_limit_that_comes_while_a_task_forks_is_not_lost() -> None:
    """The task does hardly anything but fork."""
    with Pool(1) as pool:
        for _ in range(10):
            call = pool.run(victims.fork_often, 10**6, soft=0.05, hard=30.0)
            assert call.history == ["started", "soft limit", "failure"]
            assert call.failure is not None and call.failure.name == "SoftTimeLimitExceeded"


def test_a_signal_that_came_just_before_it_was_held_back_comes_again() -> None:
    """Python runs its handler later, in a hook of the fork: what that raises would be lost."""
    interrupts = Interrupts(frozenset())
    interrupts.running = True
    before = signal.signal(SOFT_LIMIT, interrupts._on_soft_limit)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [SOFT_LIMIT])
        interrupts._on_soft_limit(SOFT_LIMIT, None)
        with pytest.raises(SoftTimeLimitExceeded):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [SOFT_LIMIT])
        assert signal.sigpending() == set()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [SOFT_LIMIT])
        signal.signal(SOFT_LIMIT, before)
