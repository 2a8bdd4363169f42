"""The command that brings servers up for others, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tools.processes import end_tagged, is_running
from tools.services import POSTGRESQL_URL, RABBITMQ_URL, REDIS_URL

ROOT = Path(__file__).resolve().parents[1]
#: Starts a process in a session of its own, and does not see to it.
COMMAND = """
import os, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print(inner.pid, os.environ["REDIS_URL"], flush=True)
if "wait" in sys.argv: time.sleep(600)
"""


@pytest.mark.parametrize(("how", "code"), [("wait", 128 + signal.SIGTERM), ("end", 0)])
def test_what_a_command_leaves_behind_ends_with_it(how: str, code: int) -> None:
    url = "redis://127.0.0.1/given"
    given = dict.fromkeys((REDIS_URL, RABBITMQ_URL, POSTGRESQL_URL), url)  # So none is started.
    command = ["-m", "tools.services", "run", sys.executable, "-c", COMMAND, how]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        text=True,
    ) as outer:
        assert outer.stdout is not None
        inner, said = outer.stdout.readline().split()
        assert said == url
        if how == "wait":
            assert is_running(int(inner))
            outer.terminate()
        assert outer.wait(60) == code
    assert not is_running(int(inner))


def test_what_does_not_heed_a_signal_is_killed() -> None:
    tag = uuid.uuid4().hex
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{deaf}; time.sleep(600)"],
        env={**os.environ, "DEAF": tag},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end_tagged(tag, "DEAF", 0.3)
        assert process.wait(60) == -signal.SIGKILL
