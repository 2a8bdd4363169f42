"""How much memory a process holds."""

from __future__ import annotations

import os
import subprocess

from celery_workerpool.process.memory import resident


def test_a_living_process_holds_memory() -> None:
    assert (resident(os.getpid()) or 0) > 2**20


def test_a_dead_process_says_nothing_of_what_it_held() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # It stays a zombie.
        assert resident(process.pid) is None
    assert resident(process.pid) is None
