"""Signals in a child: they become exceptions inside the task, and only there.

A signal that arrives when the task is over must not tear the reply to the pool apart, and
must not hit the next task. The pool hands over a task only after it has read the last reply,
so "is a task running" is all there is to know.
"""

from __future__ import annotations

import os
import signal
import threading
from types import CodeType, FrameType

from billiard.common import EX_SOFTWARE, REMAP_SIGTERM, TERM_SIGNAL
from billiard.exceptions import SoftTimeLimitExceeded

from ..errors import WorkerShuttingDown
from .forks import keep_from_forks
from .notices import Notice

#: What the pool sends for a soft time limit, as prefork does.
SOFT_LIMIT = signal.SIGUSR1

#: What the pool sends to a task that wants to know when the pool stops.
STOP_NOTICE = signal.SIGUSR2

#: Signals that end the task and its child, running ``finally`` blocks on the way.
TERMINATING = frozenset({TERM_SIGNAL, signal.SIGHUP, signal.SIGQUIT})

#: Every signal of the pool's, as plain numbers: converting an enum costs, for each task.
SENT = tuple(int(signum) for signum in (*TERMINATING, SOFT_LIMIT, STOP_NOTICE))


class Interrupts:
    """The child's signal handlers. One per process, in its main thread.

    Arguments:
        callers: the code that calls tasks; a soft limit that interrupts just this code came
            too late, the task has returned.
    """

    def __init__(self, callers: frozenset[CodeType]) -> None:
        self._pid = os.getpid()
        self.running = False  # a task is running; kept by the caller
        self.replying = False  # a reply is on its way; kept by the caller
        self.terminated_by: int | None = None
        self.notice: Notice | None = None  # that the pool stops; while the task wants one
        self._callers = callers

    def install(self) -> None:
        """Replace the handlers of every signal the pool sends, here and not in forks."""
        keep_from_forks(SENT, self._leave_forks_alone)
        for signum in TERMINATING:
            signal.signal(signum, self._on_terminate)
        if REMAP_SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(SOFT_LIMIT, self._on_soft_limit)
        if signal.getsignal(STOP_NOTICE) is signal.SIG_DFL:  # Celery's debugger may have it.
            signal.signal(STOP_NOTICE, self._on_stop_notice)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the pool.

    def _leave_forks_alone(self) -> None:
        """In a process that a task has forked.

        What terminates it must do so whatever it waits for, as ``multiprocessing`` expects of its
        workers: a handler in Python comes too late for a system call that has just begun.
        """
        own = (self._on_terminate, self._on_soft_limit, self._on_stop_notice)
        for signum in SENT:
            if signal.getsignal(signum) in own:
                signal.signal(signum, signal.SIG_DFL)

    def let_in(self) -> None:
        """Receive what a task has kept out by blocking signals: now, and not in the next task."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT)

    def exit_as_signalled(self) -> None:
        """Die of the signal that ended this child, so that its status tells; else return."""
        if self.terminated_by is not None:
            _die_of(self.terminated_by)

    def _on_terminate(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            _die_of(signum)  # A process that a task has just forked.
        if _comes_later(signum):
            return
        if self.terminated_by is not None and self.running:
            os._exit(EX_SOFTWARE)  # The second time: cleaning up takes too long.
        self.terminated_by = signum
        if not self.replying:
            raise SystemExit(128 + signum)

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        if _comes_later(signum):
            return
        if self.running and (frame is None or frame.f_code not in self._callers):
            raise SoftTimeLimitExceeded

    def _on_stop_notice(self, signum: int, frame: FrameType | None) -> None:
        notice = self.notice
        if _comes_later(signum) or notice is None or not self.running:
            return
        notice.given = True
        if notice.interrupt and (frame is None or frame.f_code not in self._callers):
            notice.interrupt = False
            raise WorkerShuttingDown("the worker stops")


def _comes_later(signum: int) -> bool:
    """Whether the signal is held back, and had come a moment before it was.

    A fork holds it back. An exception from here would end in one of the fork's hooks, which
    cannot raise: so it is sent once more, and comes when the fork is done.
    """
    if signum not in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return False
    signal.pthread_kill(threading.main_thread().ident or 0, signum)
    return True


def _die_of(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
