"""The process that starts children, watches them, and ends them when the pool is gone.

    worker's main process            fork server                     children
    ─────────────────────            ───────────                     ────────
    broker, scheduler   ──fork once──▶ no broker, no threads,
                                       frozen heap
         │  launch(number) + socket ───▶ │ ──fork──▶ session of its own ──▶ descendants
         │◀── Forked(number, pid) ────── │
         │◀═════════════ the child's channel, straight to the pool ═══▶
         │◀── Exited(number, status) ─── │ (kills what is left of the session first)
         │  reap(number) ──────────────▶ │

Why not fork in the main process: it holds the broker's sockets, it may have threads, its heap
only grows, and a fork stops its loop for as long as copying its page tables takes. Here a
child inherits a small, clean and frozen process, whenever it is started.

The server outlives the main process by a moment on purpose: the end of its connection, or a
new parent, tells it that the pool is gone, however it went; it kills every child's process
group, and itself.

A child that has exited stays a zombie until the pool says ``reap``, so its pid cannot be
given to another process while the pool might still send it a signal.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ..errors import ForkServerLost
from .family import kill_family
from .inherited import forget_connections, let_go_of_descriptors
from .stacks import STACK_SIGNAL, StackPipe, answers, tell_stacks

REQUEST = struct.Struct("!BII")  # operation, number, index
REPLY = struct.Struct("!BIIi")  # event, number, pid, status
LAUNCH, REAP = 1, 2
FORKED, EXITED, REFUSED = 1, 2, 3

#: Seconds between two looks at who the parent is. End of file is the rule; this is for the
#: case that another process has inherited the other end of the connection.
ORPHAN_CHECK = 0.5

#: Seconds that a server may take to end its children and itself.
CLOSE_TIMEOUT = 5.0

#: Signals that a terminal or a service manager sends to a whole group; the pool decides.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)

#: Called in a new child with its end of the channel, the descriptor its stacks are written to, and
#: its index; returns the exit code.
Become = Callable[[socket.socket, int, int], int]
#: Called once in a new server.
Prepare = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Forked:
    """Child ``number`` exists."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """Child ``number`` is dead, and so is everything in its process group."""

    number: int
    pid: int
    status: int  # exit code, or the negative number of a signal


@dataclass(frozen=True, slots=True)
class Refused:
    """The system did not let child ``number`` be started: no memory, too many processes."""

    number: int
    errno: int


Event = Forked | Exited | Refused


class ForkServer:
    """The main process's side. Owns the server's connection and reaps the server.

    Arguments:
        become: what a new child does with its life.
        prepare: what the server does before its first child.
        keep: descriptors that children inherit (see :func:`.inherited.open_descriptors`): the
            user's own, open before the worker opened any.
    """

    def __init__(self, become: Become, prepare: Prepare, keep: frozenset[tuple[int, int]]) -> None:
        ours, theirs = socket.socketpair()
        self._stacks = StackPipe()
        # What lives now is garbage-collected once and then left alone, here and in every
        # child: the collector would otherwise write to, and so copy, every shared page.
        gc.unfreeze()  # What was frozen for an earlier server may have become garbage.
        gc.collect()
        gc.freeze()
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads. The server touches no lock of
            # theirs; prefork, which forks every child like this, has the same risk.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _serve_and_exit(theirs, ours, self._stacks.writer, become, prepare, keep)
        theirs.close()
        self._stacks.close_writer()
        self.pid = pid
        self._socket = ours
        self._partial = b""
        self.children: set[int] = set()
        self.has_forked = False

    def fileno(self) -> int:
        """Readable when :meth:`receive` has something to say."""
        return self._socket.fileno()

    def launch(self, number: int, index: int, stacks: int | None = None) -> socket.socket:
        """Ask for a child; returns the pool's end of its channel at once.

        Arguments:
            number: identifies the child for as long as the server lives.
            index: its place in the pool, counted from 0, free again when it is gone.
            stacks: a descriptor that the child writes its Python stack to; stays the caller's.

        Raises:
            ForkServerLost: the server is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            fds = [theirs.fileno()] if stacks is None else [theirs.fileno(), stacks]
            socket.send_fds(self._socket, [REQUEST.pack(LAUNCH, number, index)], fds)
        except OSError as exc:
            ours.close()
            raise ForkServerLost(str(exc)) from None
        finally:
            theirs.close()
        self.children.add(number)
        return ours

    def receive(self) -> list[Event]:
        """What has happened since; empty when nothing has.

        Raises:
            ForkServerLost: the server is gone, and every child of it.
        """
        try:
            data = self._socket.recv(REPLY.size * 256, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as exc:
            raise ForkServerLost(str(exc)) from None
        if not data:
            raise ForkServerLost("end of file")
        data = self._partial + data
        whole = len(data) - len(data) % REPLY.size
        self._partial = data[whole:]
        events = [_event(*fields) for fields in REPLY.iter_unpack(data[:whole])]
        self.has_forked = self.has_forked or any(isinstance(e, Forked) for e in events)
        return events

    def signal(self, pid: int, signum: int) -> None:
        """Signal a child that is not reaped; SIGKILL takes everything it has started along."""
        if signum == signal.SIGKILL:
            kill_family(pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def answers(self, pid: int) -> bool:
        """Whether a child would write its stack if it got ``STACK_SIGNAL``."""
        return answers(pid)

    def stack(self) -> str:
        """The server's own Python stack now, or as it crashed; "" when it does not answer.

        Waits for it, some hundredths of a second at most.
        """
        if STACK_SIGNAL is None or not answers(self.pid):
            return self._stacks.crash()
        self._stacks.take()  # What it wrote before is old.
        os.kill(self.pid, STACK_SIGNAL)
        return self._stacks.wait()

    def kill(self) -> None:
        """End the server at once, and with it its children; :meth:`receive` will tell."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def reap(self, number: int) -> None:
        """Let go of an exited child's pid: no signal will be sent to it any more."""
        self.children.discard(number)
        with contextlib.suppress(OSError):  # A server that is gone has reaped all.
            self._socket.send(REQUEST.pack(REAP, number, 0))

    def close(self) -> None:
        """End the server and every child it still has. Blocks until it is gone; idempotent."""
        if self._socket.fileno() == -1:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if not self._ends_within(CLOSE_TIMEOUT):
            self.kill()
        self._socket.close()
        self._stacks.close()
        with contextlib.suppress(ChildProcessError):  # Somebody's waitpid(-1) was faster.
            os.waitpid(self.pid, 0)

    def _ends_within(self, seconds: float) -> bool:
        """Whether the server closes its end of the connection, which it does by ending."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        deadline = time.monotonic() + seconds
        while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            try:
                if not self._socket.recv(4096):
                    return True
            except OSError:
                return True
        return False


def _event(kind: int, number: int, pid: int, status: int) -> Event:
    if kind == FORKED:
        return Forked(number, pid)
    return Exited(number, pid, status) if kind == EXITED else Refused(number, status)


def _serve_and_exit(
    connection: socket.socket,
    other_end: socket.socket,
    stacks: int,
    become: Become,
    prepare: Prepare,
    keep: frozenset[tuple[int, int]],
) -> NoReturn:
    exitcode = 1
    try:
        other_end.close()
        os.setsid()
        stacks = tell_stacks(stacks)
        let_go_of_descriptors({connection.fileno(), stacks}, keep)
        forget_connections()
        prepare()
        gc.freeze()  # What that has left belongs to what children share, too.
        exitcode = _Server(connection, stacks, become).run()
    except BaseException:  # Nobody above will tell why.
        traceback.print_exc()
    finally:
        os._exit(exitcode)


class _Server:
    """The loop of the server's own process."""

    def __init__(self, connection: socket.socket, stacks: int, become: Become) -> None:
        self._connection = connection
        self._stacks = stacks  # what the server writes its own to
        self._become = become
        self._parent = os.getppid()
        self._alive: dict[int, int] = {}  # pid: number
        self._zombies: dict[int, int] = {}  # number: pid
        self._wake_r, self._wake_w = socket.socketpair()

    def run(self) -> int:
        for signum in IGNORED:
            signal.signal(signum, signal.SIG_IGN)
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Only so that the wake-up is written.
        signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN)
        try:
            while self._step(dict(poller.poll(ORPHAN_CHECK * 1000))):
                pass
        finally:
            for pid in self._alive:
                kill_family(pid)
            for pid in (*self._alive, *self._zombies.values()):
                os.waitpid(pid, 0)  # Not every init cleans up after orphans.
        return 0

    def _step(self, ready: dict[int, int]) -> bool:
        if os.getppid() != self._parent:
            return False
        if self._wake_r.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_r.recv(4096)
            self._report_the_dead()
        if self._connection.fileno() in ready:
            return self._obey()
        return True

    def _obey(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._connection, REQUEST.size, 2)
        except OSError:
            return False
        if len(data) < REQUEST.size:
            return False
        operation, number, index = REQUEST.unpack(data)
        if operation == LAUNCH:
            self._fork(number, index, socket.socket(fileno=fds[0]), *fds[1:])
        elif number in self._zombies:
            os.waitpid(self._zombies.pop(number), 0)
        return True

    def _fork(
        self, number: int, index: int, channel: socket.socket, stacks: int | None = None
    ) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            _close(channel, stacks)
            self._tell(REFUSED, number, 0, exc.errno or 0)
            return
        if pid == 0:
            exitcode = 1
            try:
                self._reset_in_child(stacks)
                if os.getppid() == server:  # Else nobody is left to look after this process.
                    exitcode = self._become(channel, self._stacks, index)
            except BaseException:  # Nobody above will tell why.
                traceback.print_exc()
            finally:
                os._exit(exitcode)
        _close(channel, stacks)
        self._alive[pid] = number
        self._tell(FORKED, number, pid, 0)

    def _reset_in_child(self, stacks: int | None) -> None:
        os.setsid()
        if stacks is not None:  # From now on the same handlers write to the child's own.
            os.dup2(stacks, self._stacks, inheritable=False)
            os.close(stacks)
        signal.set_wakeup_fd(-1)
        for signum in (*IGNORED, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for sock in (self._connection, self._wake_r, self._wake_w):
            sock.close()

    def _report_the_dead(self) -> None:
        for pid, number in list(self._alive.items()):
            how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if how is None:
                continue
            kill_family(pid)  # Its descendants; it is a zombie, so the number is still its own.
            del self._alive[pid]
            self._zombies[number] = pid
            died_of_signal = how.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            self._tell(EXITED, number, pid, -how.si_status if died_of_signal else how.si_status)

    def _tell(self, event: int, number: int, pid: int, status: int) -> None:
        with contextlib.suppress(OSError):  # The pool is gone; the next poll says so.
            self._connection.sendall(REPLY.pack(event, number, pid, status))


def _close(channel: socket.socket, stacks: int | None) -> None:
    channel.close()
    if stacks is not None:
        os.close(stacks)
