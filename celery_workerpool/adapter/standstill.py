"""What a thread that stands still waits for, as another thread sees it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType

#: Packages in whose frames a thread is while it waits for a socket; brokers' clients, and below.
WIRE = ("socket", "ssl", "redis", "amqp")
#: Packages of which the first that is met on the way out says for whom it waits ...
DECISIVE = ("amqp", "kombu", "celery", __name__.partition(".")[0])
#: ... and the parts of these that talk to the broker. Of a backend's client, Celery comes first.
BROKER = ("amqp", "kombu.transport", __name__.rpartition(".")[0])


def asks_broker(thread: int) -> bool:
    """Whether a thread waits for an answer of the broker's at this moment."""
    return is_broker_call(_modules(sys._current_frames().get(thread)))


def is_broker_call(modules: Iterable[str]) -> bool:
    """Whether a stack is one of somebody who waits for the broker.

    What instruments a client (tracing) has frames of its own between these; they say nothing.

    Arguments:
        modules: those that the frames belong to, the innermost first.
    """
    innermost = True
    for module in modules:
        if innermost and not _is_in(module, WIRE):
            return False
        innermost = False
        if _is_in(module, DECISIVE):
            return _is_in(module, BROKER)
    return False


def stack(thread: int) -> str:
    """Where a thread is at this moment, as in a traceback."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _modules(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
