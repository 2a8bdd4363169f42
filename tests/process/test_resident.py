"""How much memory a process holds."""

from __future__ import annotations

import os

from celery_workerpool.process.memory import resident


def test_a_living_process_holds_memory() -> None:
    assert (resident(os.getpid()) or 0) > 2**20


def test_a_dead_process_says_nothing_of_what_it_held() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # It stays a zombie.
    try:
        assert resident(pid) is None
    finally:
        os.waitpid(pid, 0)
    assert resident(pid) is None
