"""Ctrl-C and its relatives, noted at once and answered where it is safe."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The user wants the demo to end."""


class Stop:
    """Collects the signals that ask the demo to end.

    A handler that raised could leave a process behind that was started and not yet noted, so
    this one only counts; the demo calls :meth:`check` wherever it can end.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.count = 0

    def install(self) -> None:
        """Listen from now on."""
        for signum in SIGNALS:
            # Respect `nohup`: what was ignored stays ignored.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._note)

    def ignore(self) -> None:
        """Listen no more: all is done, and an impatient signal must not change how it ended."""
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal came."""
        if self.count:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleep, but end at once, with :class:`Stopped`, when a signal comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.02))
        self.check()

    @property
    def exit_code(self) -> int:
        """As a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        self.count += 1
