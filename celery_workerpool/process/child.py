"""The life of a child: become ready, run one task after the other, leave."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import AuthenticationString  # type: ignore[attr-defined]
from typing import Any, Protocol

from billiard.process import BaseProcess

from ..types import RemoteFailure
from .beats import start_beating
from .channel import EX_CHANNEL, ChannelClosed, ChildChannel
from .courtesy import Courtesy
from .interrupts import Interrupts
from .loggers import loggers_out_of_sight
from .memory import resident
from .messages import RUN, Attention, Done, Failed, Progress, Ready, decode_request, encode
from .notices import Notice, set_desk
from .reporting import Reporter, set_reporter
from .stacks import keep_stacks_from_forks

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
#: Loaded here, so that a fork need not do it: each time takes half a millisecond.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class Runtime(Protocol):
    """What the layers above put into a child. Pickled where children are spawned."""

    #: Whether replies say how much memory the child holds.
    report_memory: bool
    #: Seconds between two signs of life; None: it gives none.
    heartbeat: float | None

    def before_serving(self) -> None:
        """Called in the fork server, before it forks its first child."""

    def before_ready(self) -> None:
        """Set up the process; an exception ends the child before it is ready."""

    def describe(self, exc: BaseException) -> RemoteFailure:
        """Turn what a task raised into plain data."""

    def plain(self, value: object) -> object:
        """Turn what a task returned into plain data."""

    def before_exit(self, exitcode: int) -> None:
        """Tear down what :meth:`before_ready` set up."""


def become_child(
    sock: socket.socket, stacks: int, index: int, runtime: Runtime, method: str = "fork"
) -> int:
    """Turn this fresh process into a child of the pool; its exit code, when it is done.

    Leads a session and a process group of its own from the first line on, so that everything
    it starts can be ended with it.

    Arguments:
        stacks: the descriptor that its Python stack is written to, which is arranged already.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    keep_stacks_from_forks()
    _die_with_parent()  # Should the fork server die, nobody could end this process.
    child = ChildProcess(sock, index, runtime, method)
    exitcode: int = child._bootstrap()
    child.interrupts.exit_as_signalled()
    return exitcode & 0xFF


class ChildProcess(BaseProcess):  # type: ignore[misc]  # billiard has no types
    """The process object that billiard, multiprocessing and logging ask for a name.

    Not daemonic, so that tasks may use multiprocessing.
    """

    _start_method = None

    def __init__(self, sock: socket.socket, index: int, runtime: Runtime, method: str) -> None:
        super().__init__(name=f"{method.capitalize()}PoolWorker-{index + 1}")
        self.index = index  # %i in the name of a log file
        # multiprocessing pickles the key when a task spawns; it refuses billiard's own class.
        self._config["authkey"] = AuthenticationString(bytes(self._config["authkey"]))
        callers = {ChildLoop.call.__code__, ChildLoop.execute.__code__}
        self.interrupts = Interrupts(frozenset(callers))
        self._loop = ChildLoop(ChildChannel(sock), runtime, self.interrupts)

    def _bootstrap(self) -> Any:
        with loggers_out_of_sight():
            return super()._bootstrap()

    def run(self) -> None:
        sys.exit(self._loop.run())


class ChildLoop:
    """Takes a task, runs it, replies; holds no other."""

    def __init__(self, channel: ChildChannel, runtime: Runtime, interrupts: Interrupts) -> None:
        self._channel = channel
        self._runtime = runtime
        self._interrupts = interrupts
        self._pid = os.getpid()
        self._reporter = Reporter(self)
        self._job = 0  # the number of the one that runs; 0: none does

    def offer(self, percent: float, message: str) -> bool:
        """A report of the running task; False when it is dropped."""
        if not self._job or os.getpid() != self._pid:
            return False
        return self._channel.offer(encode(Progress(self._job, percent, message)))

    @property
    def notice(self) -> Notice | None:
        """What the running task wants to be told."""
        return self._interrupts.notice

    @notice.setter
    def notice(self, notice: Notice | None) -> None:
        self._interrupts.notice = notice

    def ask_for_notice(self, wanted: bool) -> bool:
        """Tell the pool whether the running task wants to know that it stops."""
        if not self._job or os.getpid() != self._pid:
            return True  # Nobody will ever tell; waiting is no use.
        return self._channel.offer(encode(Attention(self._job, wanted)))

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        exitcode = 1
        self._runtime.before_ready()
        try:
            self._interrupts.install()
            set_reporter(self._reporter)
            set_desk(self)
            if self._runtime.heartbeat is not None:
                start_beating(self._channel, self._runtime.heartbeat)
            exitcode = self._serve()
        finally:
            if os.getpid() != self._pid:
                os._exit(0)  # A fork that a task made came all the way here.
            self._interrupts.replying = True  # Past any task: signals only set the status.
            self._runtime.before_exit(exitcode)
        return exitcode

    def _serve(self) -> int:
        try:
            rss = resident(self._pid) or 0
            self._channel.send(encode(Ready(self._pid, rss, time.process_time())))
            courtesy = Courtesy()
            while True:
                courtesy.begin()
                tag, job, payload = self._channel.receive()
                courtesy.end()
                if tag != RUN:
                    return 0
                reply = self.execute(job, payload)
                if os.getpid() != self._pid:
                    os._exit(0)  # The task forked and both returned: one of them may reply.
                self._reply(reply)
                if isinstance(reply, Failed) and reply.leaving:
                    return _exit_status(reply.failure.detail)
        except ChannelClosed:
            return EX_CHANNEL

    def execute(self, job: int, payload: bytes) -> Done | Failed:
        """Run one task; whatever it does comes back as a reply.

        Raises:
            SystemExit: a signal ended the task and this child; there is nothing to say.
        """
        interrupts = self._interrupts
        try:
            run = decode_request(RUN, job, payload)
            self._job = job
            self._reporter.begin()
            interrupts.notice = None
            value = self.call(run.target, run.args)  # type: ignore[union-attr]
        except BaseException as exc:  # A task may raise anything.
            interrupts.running = False
            # Unfinished, whatever came out of its clean-up: the pool accounts for it.
            self._leave_if_terminated()
            leaving = isinstance(exc, SystemExit | KeyboardInterrupt)
            return Failed(job, self._describe(exc), self._memory(), leaving)
        # A task may survive the signal that should have ended it; its child goes afterwards.
        leaving = interrupts.terminated_by is not None
        try:
            return Done(job, self._runtime.plain(value), self._memory(), leaving)
        except Exception as exc:  # As below: the value may be of any kind.
            return Failed(job, self._describe(exc), self._memory(), leaving)

    def call(self, target: Callable[..., object], args: tuple[object, ...]) -> object:
        interrupts = self._interrupts
        interrupts.running = True
        value = target(*args)
        interrupts.running = False
        return value

    def _reply(self, reply: Done | Failed) -> None:
        self._interrupts.replying = True
        self._interrupts.let_in()
        self._job = 0
        try:
            frame = encode(reply)
        except Exception as exc:  # Pickling a function's result may raise anything.
            frame = encode(Failed(reply.job, self._describe(exc), reply.rss, reply.leaving))
        self._channel.send(frame)
        self._interrupts.replying = False
        self._leave_if_terminated()

    def _describe(self, exc: BaseException) -> RemoteFailure:
        try:
            return self._runtime.describe(exc)
        except Exception as error:  # An exception's own methods may raise anything.
            kind = type(exc)
            text = f"{kind.__qualname__}, which cannot be described: {type(error).__qualname__}"
            return RemoteFailure(kind.__module__, kind.__qualname__, (), text, text)

    def _leave_if_terminated(self) -> None:
        if self._interrupts.terminated_by is not None:
            raise SystemExit(128 + self._interrupts.terminated_by)

    def _memory(self) -> int | None:
        return resident(self._pid) if self._runtime.report_memory else None


def _die_with_parent() -> None:
    """Linux only; elsewhere a child finds its channel closed, after its task."""
    if _PRCTL is not None:
        # Not billiard's function: it compiles a C declaration in every process anew.
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_status(detail: object) -> int:
    """What ``sys.exit(detail)`` means to the system."""
    if detail is None:
        return 0
    return detail if isinstance(detail, int) else 1
