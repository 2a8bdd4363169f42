"""A worker with a wrong setting refuses to start, and says in one line what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.worker import CeleryWorker

WRONG = {
    "workerpool_priority_aging": (-3, "expected a number above 0"),
    "workerpool_terminate_grace": ("soon", "expected a number of at least 0"),
    "workerpool_memory_kill_ratio": (0.5, "expected a number of at least 1 or None"),
    "workerpool_priority_agin": (3, "did you mean workerpool_priority_aging?"),
}


@pytest.mark.parametrize("setting", WRONG)
def test_a_wrong_setting_is_refused_in_one_line(tmp_path: Path, setting: str) -> None:
    value, expected = WRONG[setting]
    worker = CeleryWorker("memory://", "cache+memory://", tmp_path, conf={setting: value})
    worker.start(ready=False)
    assert worker.wait() == 1
    told = [line for line in worker.log.splitlines() if setting in line]
    assert len(told) == 1
    assert told[0].startswith(f"Error: {setting} = {value!r}: expected ")
    assert expected in told[0]
    assert "Traceback" not in worker.log
    worker.app.close()
