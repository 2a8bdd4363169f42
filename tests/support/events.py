"""The events that a worker sends, as Flower would see them."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from celery import Celery
from celery.events.receiver import EventReceiver

from .waiting import wait_until


class EventLog:
    """Collects all events of an app's exchange while its block runs."""

    def __init__(self, app: Celery) -> None:
        self.events: list[dict[str, Any]] = []
        self._app = app
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._receiver: EventReceiver | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "no event consumer"
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._receiver is not None
        self._receiver.should_stop = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def of(self, task_id: str) -> list[str]:
        """The types of a task's events so far, in the order of their coming."""
        return [event["type"] for event in list(self.events) if event.get("uuid") == task_id]

    def wait_for(self, kind: str, task_id: str) -> dict[str, Any]:
        """An event of this type about this task."""

        def found() -> dict[str, Any] | None:
            for event in list(self.events):
                if event["type"] == kind and event.get("uuid") == task_id:
                    return event
            return None

        return wait_until(found, f"{kind} of {task_id}; came: {self.of(task_id)}")  # type: ignore[return-value]

    def _collect(self) -> None:
        with self._app.connection_for_read() as connection:
            receiver = _Receiver(connection, handlers={"*": self.events.append}, app=self._app)
            receiver.ready = self._ready
            self._receiver = receiver
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                pass


class _Receiver(EventReceiver):
    ready: threading.Event

    def on_consume_ready(self, *args: Any, **kwargs: Any) -> None:
        super().on_consume_ready(*args, **kwargs)
        self.ready.set()
