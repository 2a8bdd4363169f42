"""What happened when: lines that the processes of a worker append to one file.

Every process of a machine reads the same monotonic clock, so times from different processes
can be compared. A line is written by one ``write`` to a file opened for appending: lines of
several processes do not mix.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Environment variable: the file.
TRACE = "WORKERPOOL_BENCH_TRACE"

Event = dict[str, Any]  # "what", "at" (monotonic seconds), "pid", and whatever was said


def note(what: str, **facts: object) -> None:
    """Append a line; about 20 microseconds."""
    event = {"what": what, "at": time.monotonic(), "pid": os.getpid(), **facts}
    # Opened anew each time: what a task of long ago opened may be another file by now.
    fd = os.open(os.environ[TRACE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, json.dumps(event).encode() + b"\n")
    finally:
        os.close(fd)


class Trace:
    """The reader's side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._events: list[Event] = []

    def events(self, what: str) -> list[Event]:
        """All events of a kind so far, in the order they were written."""
        self._read()
        return [event for event in self._events if event["what"] == what]

    def wait(
        self, condition: Callable[[], bool], description: str, timeout: float, every: float = 0.03
    ) -> None:
        """Return when the condition holds.

        Looks rarely and sleeps in between: the reader must not take the CPU that it measures.

        Raises:
            TimeoutError: it did not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout:g} s: {description}")
            time.sleep(every)

    def _read(self) -> None:
        if not self.path.exists() or self.path.stat().st_size == self._offset:
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._events += map(json.loads, whole.splitlines())
