"""The Python stack of a process, told by itself even while it hangs or crashes.

``faulthandler`` writes it from a C signal handler, without the interpreter's lock and without
running Python code: a child that holds the lock in a C call for ever answers all the same. Each
child writes to a pipe of its own, whose other end the pool holds; so what it wrote as it
crashed can be read when it is gone.

A process that is stopped or in the kernel's hands (states T and D) does not answer.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import itertools
import os
import select
import signal
import sys
import time

from .vitals import catches, vitals

#: A real-time signal, which neither Celery nor (as good as) any library uses. None: none here.
STACK_SIGNAL: int | None = int(signal.SIGRTMAX) - 1 if hasattr(signal, "SIGRTMAX") else None

#: Descriptors are handed out from below: nobody who closes and opens some gets this one by chance.
_HIGH = 250
#: Characters that are kept of one stack.
LONGEST = 8000
#: Seconds within which a process that can answer does, on a machine that is not overloaded.
PATIENCE = 0.04
#: States of a process in which none of its signal handlers runs.
_DEAF = "TtDZX"
#: Seconds of silence after a line that end an answer, if it may end there.
_PAUSE = 0.002
#: What a crash begins with; ``faulthandler`` writes it in one piece.
_CRASH = b"Fatal Python error: "
#: What the pool's own thread in a child looks like; it is no part of the evidence.
_OWN = os.path.join("process", "beats.py")
#: From here on a child's stack is the pool's, and that of the process that it was forked from.
_BELOW = os.path.join("celery_workerpool", "process", "child.py") + '", line '


class StackPipe:
    """The pool's end; owns both descriptors. Nothing here waits, except :meth:`wait`.

    What a crash has left is kept apart from what was asked for, perhaps of an earlier task.
    """

    def __init__(self) -> None:
        self._asked = self._crash = b""
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)  # A full pipe must not hold up who writes.

    def close_writer(self) -> None:
        """Once the process has its own."""
        if self.writer != -1:
            os.close(self.writer)
            self.writer = -1

    def take(self) -> str:
        """What was asked for and has been written since the last time."""
        asked, self._asked = self._asked + self._read(), b""
        return tidy(asked)

    def crash(self) -> str:
        """What the process has written as it crashed; "" if it has not."""
        self._asked += self._read()
        return tidy(self._crash)

    @property
    def has_answer(self) -> bool:
        """Whether something has been written that nobody has taken."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        return bool(poller.poll(0))

    def wait(self, seconds: float | None = None) -> str:
        """What is written within so many seconds, by default ``PATIENCE``; "" for nothing.

        Returns as soon as there is something, and no more.
        """
        seconds = PATIENCE if seconds is None else seconds
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        deadline = time.monotonic() + seconds
        data, patience = b"", seconds
        while poller.poll(patience * 1000) and (more := self._read()):
            data += more
            left = max(0.0, deadline - time.monotonic())
            patience = min(_PAUSE, left) if _may_end(data) else left
        return tidy(data)

    def _read(self) -> bytes:
        """What is there, up to a crash."""
        chunks = []
        with contextlib.suppress(OSError):  # Empty, or closed.
            while chunk := os.read(self._reader, 1 << 16):
                chunks.append(chunk)
        asked, begin, crash = b"".join([self._crash, *chunks]).partition(_CRASH)
        self._crash = begin + crash
        return asked

    def close(self) -> None:
        """Idempotent."""
        self.close_writer()
        if self._reader != -1:
            os.close(self._reader)
            self._reader = -1


def answers(pid: int) -> bool:
    """Whether that process would write its stack now; the signal would kill another."""
    if STACK_SIGNAL is None or not catches(pid, STACK_SIGNAL):
        return False
    seen = vitals(pid)
    return seen is not None and seen.state not in _DEAF


def tell_stacks(fd: int) -> int:
    """Have this process write its stack to a descriptor when it is asked, and when it crashes.

    Takes over ``fd``, and returns the number it has from now on. Forks inherit the handlers.
    """
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(fd)
    faulthandler.enable(high)
    if STACK_SIGNAL is not None:
        faulthandler.register(STACK_SIGNAL, file=high, all_threads=True, chain=False)
    return high


def keep_stacks_from_forks() -> None:
    """What processes do that a task forks is not told as this one's; Python's own ways apply."""
    os.register_at_fork(after_in_child=_restore)


def _restore() -> None:
    if "PYTHONFAULTHANDLER" in os.environ or "faulthandler" in sys._xoptions:
        faulthandler.enable(2)
    else:
        faulthandler.disable()


def _may_end(data: bytes) -> bool:
    """Not within a line, nor before the first frame of a thread."""
    return data.endswith(b"\n") and data.splitlines()[-1].startswith(b"  ")


def tidy(data: bytes) -> str:
    """As text, without the pool's own thread and what is below a task, and not too long."""
    text = data.decode(errors="replace")
    blocks = [_of_task(block) for block in text.split("\n\n") if not _is_own(block)]
    kept = "\n\n".join(blocks).strip()
    return kept if len(kept) <= LONGEST else kept[:LONGEST] + "\n  …"


def _is_own(block: str) -> bool:
    lines = block.strip().splitlines()
    return len(lines) > 1 and _OWN in lines[1]


def _of_task(block: str) -> str:
    return "\n".join(itertools.takewhile(lambda line: _BELOW not in line, block.splitlines()))
