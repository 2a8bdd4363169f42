"""How a task that wants to know learns that its worker stops."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import WorkerShuttingDown

#: Seconds that a task may wait until the pool has been told that it wants to know.
PATIENCE = 1.0


@dataclass(slots=True)
class Notice:
    """Whether the worker stops."""

    given: bool = False
    #: Raise WorkerShuttingDown when it is given; once.
    interrupt: bool = False


class Desk(Protocol):
    """The child's side: where notices are given."""

    notice: Notice | None

    def ask_for_notice(self, wanted: bool) -> bool:
        """Tell the pool; False when that did not go through now."""


#: Of this process, while it is a child of a pool.
_desk: Desk | None = None


def set_desk(desk: Desk | None) -> None:
    """Called once, by the child."""
    global _desk  # the one place; a process is one child
    _desk = desk


@contextlib.contextmanager
def shutdown_notice(*, interrupt: bool = True) -> Iterator[Notice]:
    """Have the task learn at once when its worker is told to stop.

    Inside of the block, and on the way in if the worker stops already,
    :class:`~celery_workerpool.errors.WorkerShuttingDown` is raised, once, as a soft time limit
    would be; with ``interrupt=False`` only the notice's ``given`` becomes
    true. The task then saves what it has, and returns, retries, or rejects its message. For the
    main thread of a task; on another pool, and outside of a task, no notice is ever given.

        with shutdown_notice():
            train()
    """
    notice, desk = Notice(), _desk
    if desk is None:
        yield notice
        return
    before, desk.notice = desk.notice, notice
    try:
        _ask(desk, True)
        notice.interrupt = interrupt
        if notice.given and notice.interrupt:  # It came while nothing could be raised yet.
            raise WorkerShuttingDown("the worker stops")
        yield notice
    finally:
        notice.interrupt = False
        desk.notice = before
        if before is None:
            desk.ask_for_notice(False)
        else:
            before.given = before.given or notice.given


def _ask(desk: Desk, wanted: bool) -> None:
    until = time.monotonic() + PATIENCE
    while not desk.ask_for_notice(wanted) and time.monotonic() < until:
        time.sleep(0.01)  # The pool is busy; the task has not begun what it protects.
