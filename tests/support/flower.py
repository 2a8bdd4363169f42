"""A real Flower, started as a user starts it, beside a worker under test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tools.services import free_port

from .app import CONF
from .leaks import TAG
from .waiting import wait_until
from .worker import ROOT, CeleryWorker


@contextlib.contextmanager
def flower(worker: CeleryWorker, directory: Path) -> Iterator[str]:
    """Flower on the worker's broker, everybody allowed everything; yields its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    environ = {
        **os.environ,
        TAG: worker.tag,
        CONF: json.dumps(worker.conf),
        "PYTHONPATH": str(ROOT),
        "FLOWER_UNAUTHENTICATED_API": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.support.app", "flower"]
    command += ["--address=127.0.0.1", f"--port={url.rpartition(':')[2]}"]
    log = directory / "flower.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environ, cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_until(lambda: _knows(url, worker.hostname), f"Flower shows the worker: {log}")
        yield url
    finally:
        process.kill()
        process.wait()


def _knows(url: str, hostname: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        request = f"{url}/api/workers?refresh=1&workername={hostname}"
        with urllib.request.urlopen(request, timeout=10) as answer:
            return "stats" in json.load(answer).get(hostname, {})
    return False
