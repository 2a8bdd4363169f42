"""Asking a worker's probes."""

from __future__ import annotations

import http.client
import re

from .worker import CeleryWorker


def ask(worker: CeleryWorker, path: str) -> tuple[int, str]:
    """Status and condition."""
    status, text = ask_for_text(worker, path)
    return status, text.partition(":")[0].strip()


def ask_for_text(worker: CeleryWorker, path: str) -> tuple[int, str]:
    """Status and the whole answer."""
    found = re.search(r"health endpoint: http://127\.0\.0\.1:(\d+)", worker.log)
    assert found, worker.log
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
