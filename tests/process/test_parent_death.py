"""However the main process goes, everything that it has started goes, too."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.leaks import TAG, tagged
from tests.support.waiting import wait_until
from tests.support.worker import ROOT


@pytest.mark.parametrize(
    ("scene", "method"),
    [
        ("running", "fork"),
        ("running", "spawn"),
        ("starting", "fork"),
        ("starting", "spawn"),
        ("launching", "fork"),
        ("launching", "spawn"),
        ("stopped", "fork"),
        ("held", "fork"),
        ("sessions", "fork"),
    ],
)
def test_nothing_outlives_a_killed_main_process(
    scene: str, method: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Children and grandchildren that run, start, are stopped by a signal; and fork servers."""
    tag = uuid.uuid4().hex
    command = [sys.executable, "-m", "tests.process.parent", str(tmp_path), method, scene]
    parent = subprocess.Popen(command, cwd=ROOT, env={**os.environ, TAG: tag})
    descriptors: list[int] = []
    try:
        wait_until((tmp_path / "ready").exists, "the scene is set")
        noted = json.loads((tmp_path / "ready").read_text())
        holders = {noted["holder"]} - {None}
        watch = select.poll()
        for pid in set(noted["pids"]):
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
                watch.register(descriptors[-1], select.POLLIN)
        left = set(descriptors)
        assert left

        parent.kill()
        begin = time.monotonic()
        while left:
            ended = watch.poll(30_000)
            assert ended, f"{len(left)} processes live on: {tagged(tag)}"
            for fd, _ in ended:
                watch.unregister(fd)
                left.discard(fd)
        record_property("milliseconds", round(1000 * (time.monotonic() - begin)))
        # Also those that nobody knew of.
        wait_until(lambda: set(tagged(tag)) <= holders, "no process is left")
    finally:
        for fd in descriptors:
            os.close(fd)
        parent.kill()
        parent.wait()
        for pid in tagged(tag):
            os.kill(pid, signal.SIGKILL)
