"""Children, fork servers, a clock and a loop without a process.

The children here are plain objects at the other end of a real socket, so that channels, frames
and their order are what they are in production. Nothing happens unless the test says so; see
:class:`tests.support.world.World`, which puts it all together.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import socket
from collections.abc import Callable, Iterable
from math import inf

from celery_workerpool.errors import ForkServerLost
from celery_workerpool.policy.scaling import Room
from celery_workerpool.process.channel import READ_SIZE, FrameReader
from celery_workerpool.process.forkserver import Exited, Forked
from celery_workerpool.process.messages import (
    Beat,
    Boot,
    Done,
    Failed,
    Progress,
    Ready,
    Reply,
    Run,
    Stop,
    decode_request,
    encode,
)
from celery_workerpool.process.stacks import STACK_SIGNAL
from celery_workerpool.types import RemoteFailure

MIB = 2**20


class FakeClock:
    """Monotonic seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class HandDriver:
    """A driver that the test turns by hand."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.readers: dict[int, Callable[[], None]] = {}
        self.writers: dict[int, Callable[[], None]] = {}
        self.wake: tuple[float, Callable[[], None]] | None = None
        self.closed = False

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self.writers[fd] = callback

    def remove_writer(self, fd: int) -> None:
        self.writers.pop(fd, None)

    def wake_at(self, when: float | None, callback: Callable[[], None]) -> None:
        self.wake = None if when is None else (when, callback)

    def close(self) -> None:
        self.readers.clear()
        self.writers.clear()
        self.wake = None
        self.closed = True

    def ready(self) -> list[Callable[[], None]]:
        """What has something to do now, in the order of the descriptors, time last."""
        poller = select.poll()
        for fd in {*self.readers, *self.writers}:
            reads = select.POLLIN if fd in self.readers else 0
            writes = select.POLLOUT if fd in self.writers else 0
            poller.register(fd, reads | writes)
        calls = []
        for fd, events in sorted(poller.poll(0)):
            assert not events & select.POLLNVAL, f"descriptor {fd} was closed while it is watched"
            if events & ~select.POLLOUT and fd in self.readers:
                calls.append(self.readers[fd])
            if events & ~select.POLLIN and fd in self.writers:
                calls.append(self.writers[fd])
        if self.wake is not None and self.wake[0] <= self._clock():
            calls.append(self._on_time)
        return calls

    def turn(self) -> None:
        """Let everything happen that can happen now; fails if that does not come to rest."""
        for _ in range(1000):
            calls = self.ready()
            if not calls:
                return
            calls[0]()
        raise AssertionError("the engine spins: there is always something to do")

    def _on_time(self) -> None:
        assert self.wake is not None
        (_, callback), self.wake = self.wake, None
        callback()


class FakeChild:
    """A child of the pool that does what the test says. Fails when it is given two jobs."""

    def __init__(self, server: FakeServer, number: int, index: int, pid: int) -> None:
        self.server = server
        self.number = number
        self.index = index
        self.pid = pid
        self.alive = True
        self.signals: list[int] = []
        self.job: int | None = None  # the number of the job that it runs
        self.jobs_seen: list[int] = []
        self.stopped = False  # it was told to leave
        self.connected = True  # it has not closed its channel
        self.was_ready = False
        self.stack = ""  # what it answers when it is asked for its Python stack
        self.stacks: int | None = None  # the descriptor that this goes to
        self.greeted: bytes | None = None
        self.ours, self._socket = socket.socketpair()
        self._socket.setblocking(False)
        self._reader = FrameReader()

    # ── what it says ─────────────────────────────────────────────────────────────────────

    def ready(self, rss: int = 10 * MIB) -> None:
        self.was_ready = True
        self._send(Ready(self.pid, rss))

    def succeed(
        self, value: object = None, *, rss: int | None = None, leaving: bool = False
    ) -> None:
        self._send(Done(self._take_job(), value, rss, leaving))

    def trickle_success(self, value: object, turn: Callable[[], None]) -> None:
        """Reply as a blocking socket does: as much as fits, whenever something fits."""
        data = memoryview(encode(Done(self._take_job(), value)))
        while data:
            with contextlib.suppress(BlockingIOError):
                data = data[self._socket.send(data) :]
            turn()

    def fail(self, failure: RemoteFailure | None = None, *, leaving: bool = False) -> None:
        failure = failure or RemoteFailure("builtins", "ValueError", (), "ValueError()", "")
        self._send(Failed(self._take_job(), failure, None, leaving))

    def report(self, percent: float, message: str, *, job: int | None = None) -> None:
        """Say how far its job is, or another."""
        self.listen()
        self._send(Progress(job if job is not None else self.job or 0, percent, message))

    def answer_to(self, job: int, value: object = None) -> None:
        """Reply to a job, whether it has it or not."""
        self._send(Done(job, value))

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def exit(self, status: int = 0) -> None:
        """Die; the server notices."""
        if self.alive:
            self.alive = self.connected = False
            if self.stacks is not None:
                os.close(self.stacks)
            self._socket.close()
            self.server.tell(Exited(self.number, self.pid, status))

    def close_channel(self) -> None:
        """Live on without a connection to the pool."""
        self.listen()
        self.connected = False
        self._socket.close()

    def beat(self, rss: int = 10 * MIB, cpu: float = 0.0) -> None:
        """Give a sign of life."""
        self._send(Beat(rss, cpu))

    def write_stack(self, text: str) -> None:
        """Write to where it is asked for its stack, asked or not."""
        assert self.stacks is not None
        os.write(self.stacks, text.encode())

    # ── what it hears ────────────────────────────────────────────────────────────────────

    def listen(self) -> None:
        """Take in what the pool has sent."""
        frames = []
        with contextlib.suppress(OSError):  # Nothing more, or the channel is closed.
            while data := self._socket.recv(READ_SIZE):
                frames += self._reader.feed(data)
        for frame in frames:
            self._hear(decode_request(*frame))

    def on_signal(self, signum: int) -> None:
        self.signals.append(signum)
        if signum == STACK_SIGNAL and self.stacks is not None:
            self.write_stack(self.stack)
        if signum == signal.SIGKILL:
            self.exit(-signum)

    def _hear(self, request: object) -> None:
        assert not self.stopped, f"child {self.number} was told to leave and got {request}"
        if isinstance(request, Run):
            assert self.job is None, f"child {self.number} has job {self.job} and got {request}"
            self.job = request.job
            self.jobs_seen.append(request.job)
        elif isinstance(request, Boot):
            self.greeted = request.payload
        elif isinstance(request, Stop):
            assert self.job is None, f"child {self.number} was told to leave during {self.job}"
            self.stopped = True

    def _take_job(self) -> int:
        self.listen()
        assert self.job is not None, f"child {self.number} has no job"
        job, self.job = self.job, None
        return job

    def _send(self, reply: Reply) -> None:
        self._socket.sendall(encode(reply))


class FakeRoom:
    """A machine that has as much room for children as the test says."""

    def __init__(self) -> None:
        self.room = Room(inf, "")
        self.noted: list[tuple[float, list[int]]] = []  # when, and whose use of CPUs

    def note(self, pids: Iterable[int], now: float) -> None:
        self.noted.append((now, list(pids)))

    def left(self, pids: Iterable[int], now: float) -> Room:
        return self.room


class FakeServer:
    """A fork server without a process. Fails when a signal is sent to a reaped pid."""

    def __init__(self, source: FakeSource, pid: int) -> None:
        self.pid = pid
        self.children: set[int] = set()
        self.lost = False
        self.closed = False
        self.has_forked = False
        self._source = source
        self._by_number: dict[int, FakeChild] = {}
        self._events: list[Forked | Exited] = []
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    def fileno(self) -> int:
        return self._ours.fileno()

    def launch(self, number: int, index: int, stacks: int | None = None) -> socket.socket:
        if self.lost:
            raise ForkServerLost("broken pipe")
        child = FakeChild(self, number, index, next(self._source.pids))
        child.stacks = os.dup(stacks) if stacks is not None else None
        self.children.add(number)
        self._by_number[number] = child
        self._source.children.append(child)
        if not self._source.slow:
            self.tell(Forked(number, child.pid))
        return child.ours

    def receive(self) -> list[Forked | Exited]:
        with contextlib.suppress(BlockingIOError):
            self._ours.recv(4096)
        if self.lost:
            raise ForkServerLost("end of file")
        events, self._events = self._events, []
        self.has_forked = self.has_forked or bool(events)
        return events

    def kill(self) -> None:
        self.lose()

    def answers(self, pid: int) -> bool:
        return any(child.pid == pid and child.stack for child in self._by_number.values())

    def stack(self) -> str:
        return ""

    def signal(self, pid: int, signum: int) -> None:
        found = [child for child in self._by_number.values() if child.pid == pid]
        assert found, f"signal {signum} for pid {pid}, which is reaped"
        found[0].on_signal(signum)

    def reap(self, number: int) -> None:
        assert not self._by_number[number].alive, f"child {number} is alive"
        self.children.discard(number)
        del self._by_number[number]

    def close(self) -> None:
        self._kill_all()
        self.closed = True
        self._ours.close()
        self._theirs.close()

    # ── what the test says ───────────────────────────────────────────────────────────────

    def tell(self, event: Forked | Exited) -> None:
        if not self.lost and not self.closed:
            self._events.append(event)
            self._theirs.send(b"\0")

    def tell_forked(self, child: FakeChild) -> None:
        """Say that a child exists, where the source is slow."""
        self.tell(Forked(child.number, child.pid))

    def lose(self) -> None:
        """The server dies, and its children with it."""
        self.lost = True
        self._kill_all()
        self._theirs.close()

    def _kill_all(self) -> None:
        for child in self._by_number.values():
            child.exit(-signal.SIGKILL)


class FakeSource:
    """Starts fake servers, and knows every child that was ever started."""

    def __init__(self) -> None:
        self.servers: list[FakeServer] = []
        self.children: list[FakeChild] = []
        self.pids = itertools.count(1001)
        self.slow = False  # servers do not say that they have forked
        self.error: Exception | None = None  # what starting a server raises
        self.hello: bytes | None = None

    def start_server(self) -> FakeServer:
        if self.error is not None:
            raise self.error
        self.servers.append(FakeServer(self, next(self.pids)))
        return self.servers[-1]

    def greeting(self) -> bytes | None:
        return self.hello
