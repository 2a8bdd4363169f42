"""``python -m tools.scaling.record BROKER FILE``: record the load of running workers.

Listens to the events of all workers on a broker (they have to send them: ``celery worker -E``)
until it is interrupted, and writes a line for each task that succeeded: the second it was
received by a worker, and how many seconds it ran. With ``task_send_sent_event`` it is the second
it was sent, which is better: a worker receives no more than it fetches ahead.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.events.receiver import EventReceiver


class Recording:
    """Puts together when a task came and how long it ran."""

    def __init__(self) -> None:
        self._came: dict[str, float] = {}
        #: When each task came, in seconds since the epoch, and how many seconds it ran.
        self.rows: list[tuple[float, float]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        """An event of Celery's; those of other kinds are left alone."""
        match event["type"]:
            case "task-sent":
                self._came[event["uuid"]] = event["timestamp"]
            case "task-received":
                self._came.setdefault(event["uuid"], event["timestamp"])
            case "task-succeeded":
                came = self._came.pop(event["uuid"], None)
                if came is not None:
                    self.rows.append((came, event["runtime"]))
            case "task-failed" | "task-revoked" | "task-rejected":
                self._came.pop(event["uuid"], None)

    def write(self, path: Path) -> None:
        """As ``python -m tools.scaling`` reads it, from second 0 on."""
        rows = sorted(self.rows)
        with path.open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerows((f"{at - rows[0][0]:.2f}", f"{runs:.3f}") for at, runs in rows)


class _Receiver(EventReceiver):  # type: ignore[misc]  # Celery has no types
    """Celery's, which asks whether to go on."""

    go_on: Callable[[], bool]

    def on_iteration(self) -> None:
        """Once a second at least."""
        self.should_stop = not self.go_on()


def record(app: Celery, recording: Recording, go_on: Callable[[], bool]) -> None:
    """Listen as long as ``go_on()``, which is asked with each event and each second."""
    with app.connection_for_read() as connection:
        receiver = _Receiver(connection, handlers={"*": recording}, app=app)
        receiver.go_on = go_on
        receiver.capture(wakeup=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.scaling.record", description=__doc__)
    parser.add_argument("broker", help="URL of the workers' broker")
    parser.add_argument("file", type=Path, help="what to write")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to record")
    arguments = parser.parse_args()
    recording = Recording()
    until = time.monotonic() + arguments.seconds
    with contextlib.suppress(KeyboardInterrupt):
        record(Celery(broker=arguments.broker), recording, lambda: time.monotonic() < until)
    recording.write(arguments.file)
    print(f"{len(recording.rows)} tasks in {arguments.file}")


if __name__ == "__main__":
    main()
