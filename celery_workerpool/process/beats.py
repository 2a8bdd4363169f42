"""A child's sign of life, from a thread of its own."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
import warnings
from time import sleep  # As it is now: a task may replace it.
from typing import Protocol

from .memory import resident
from .messages import Beat, encode
from .stacks import STACK_SIGNAL


class Line(Protocol):
    """The way to the pool."""

    def offer(self, frame: bytes) -> bool:
        """Send a frame if it goes at once; False when it was dropped."""


def start_beating(line: Line, interval: float) -> None:
    """Have a thread say every ``interval`` seconds that this process lives, from now on.

    The beats stop when the process is stopped, when C code holds the interpreter's lock, and
    when the pool does not listen; not for anything that Python code can do to the thread.

    The thread takes none of the signals that are meant for the main thread. It is none of
    ``threading``'s, so that tasks which count their threads count their own. A process that a
    task forks does not have it.
    """
    if sys.version_info >= (3, 12):
        # Python warns who forks beside threads. This one holds no lock that a fork could need.
        warnings.filterwarnings(
            "ignore", r".*multi-threaded, use of fork\(\)", category=DeprecationWarning
        )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _thread.start_new_thread(_run, (line, interval))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(line: Line, interval: float) -> None:
    if STACK_SIGNAL is not None:  # For the case that a task blocks it in the main thread.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STACK_SIGNAL})
    pid = os.getpid()
    while True:
        # Whatever it is (no memory, no descriptors): the next beat may get through.
        with contextlib.suppress(BaseException):
            sleep(interval)
            line.offer(encode(Beat(resident(pid) or 0, time.process_time())))
