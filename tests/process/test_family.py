"""Ending a process together with all it has started."""

from __future__ import annotations

import os
import signal

import pytest

from celery_workerpool.process import family


def test_a_descendant_out_of_reach_keeps_nobody_else_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changed its user, such as sudo, may not be signalled."""
    killed: list[int] = []

    def kill(pid: int, signum: int) -> None:
        if pid == 2:
            raise PermissionError
        assert signum == signal.SIGKILL
        killed.append(pid)

    monkeypatch.setattr(family, "descendants", lambda pid: iter([2, 3]))
    monkeypatch.setattr(os, "killpg", kill)
    monkeypatch.setattr(os, "kill", kill)
    family.kill_family(1)
    assert killed == [1, 3]
