"""A pool's main process, to be killed: ``python -m tests.process.parent FOLDER METHOD SCENE``.

Writes into ``FOLDER/ready`` when the scene is set: the pids that must end with this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from celery_workerpool.engine.drivers import PollDriver
from celery_workerpool.engine.engine import Engine
from celery_workerpool.engine.options import CrewOptions, EngineOptions
from celery_workerpool.process.launcher import Launcher
from celery_workerpool.types import Limits
from tests.support.pool import Call, PlainRuntime

from . import victims


class Hanging(PlainRuntime):
    """Children never get ready."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def before_ready(self) -> None:
        (self._folder / f"starting{os.getpid()}").touch()
        threading.Event().wait()


def main(folder: Path, method: str, scene: str) -> None:
    size = 8 if scene == "launching" else 2
    runtime = Hanging(folder) if scene == "starting" else PlainRuntime()
    driver = PollDriver()
    options = EngineOptions(crew=CrewOptions(start_timeout=60.0))
    engine = Engine(Launcher(runtime, spawn=method == "spawn"), options, driver)
    engine.resize(size)
    notes = [folder / f"grandchild{n}" for n in range(size)]
    if scene in ("running", "stopped", "held", "sessions"):
        leave = victims.leave_grandchild_and_go_on
        if scene == "sessions":
            leave = victims.leave_grandchild_of_its_own_session
        calls = [Call(leave, (str(n),), Limits()) for n in notes]
        for call in calls:
            engine.submit(call)
        while not all(note.exists() and note.read_text() for note in notes):
            driver.run_once(0.02)
    elif scene == "starting":
        while len(list(folder.glob("starting*"))) < size:
            driver.run_once(0.02)
    # "launching": they may be anywhere on their way.
    pids = [worker.pid for worker in engine.workers() if worker.pid]
    if scene == "stopped":
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    holder = hold_everything_open() if scene == "held" else None
    pids += [worker.server.pid for worker in engine.workers()]
    pids += [int(note.read_text()) for note in notes if note.exists()]
    (folder / "draft").write_text(json.dumps({"pids": pids, "holder": holder}))
    (folder / "draft").rename(folder / "ready")
    while True:
        driver.run_once(1.0)


def hold_everything_open() -> int:
    """Another process has inherited the connection to the fork server, and lives on."""
    pid = os.fork()
    if pid == 0:
        threading.Event().wait()
    return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
