"""An engine's whole world without a process: children, fork servers, a clock, a loop.

The children here are plain objects at the other end of a real socket, so that channels, frames
and their order are what they are in production. Nothing happens unless the test says so:

    with World(children=1) as world:
        job = world.submit()
        world.child(0).succeed("done")
        world.turn()
        assert job.outcomes == [("succeeded", "done")]
"""

from __future__ import annotations

import contextlib
import itertools
import select
import signal
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from celery_workerpool.engine.engine import Engine
from celery_workerpool.engine.jobs import Job, JobState
from celery_workerpool.engine.options import CrewOptions, EngineOptions
from celery_workerpool.engine.worker import Worker
from celery_workerpool.errors import ForkServerLost
from celery_workerpool.process.channel import READ_SIZE, FrameReader
from celery_workerpool.process.forkserver import Exited, Forked
from celery_workerpool.process.messages import (
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
from celery_workerpool.types import Limits, Loss, MemoryLimits, RemoteFailure, WorkerState

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
            self._socket.close()
            self.server.tell(Exited(self.number, self.pid, status))

    def close_channel(self) -> None:
        """Live on without a connection to the pool."""
        self.listen()
        self.connected = False
        self._socket.close()

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


class FakeServer:
    """A fork server without a process. Fails when a signal is sent to a reaped pid."""

    def __init__(self, source: FakeSource, pid: int) -> None:
        self.pid = pid
        self.children: set[int] = set()
        self.lost = False
        self.closed = False
        self._source = source
        self._by_number: dict[int, FakeChild] = {}
        self._events: list[Forked | Exited] = []
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    def fileno(self) -> int:
        return self._ours.fileno()

    def launch(self, number: int, index: int) -> socket.socket:
        if self.lost:
            raise ForkServerLost("broken pipe")
        child = FakeChild(self, number, index, next(self._source.pids))
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
        return events

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


def nothing(*args: object) -> None:
    """What a recorded job calls; no child ever does."""


class RecordedJob(Job):
    """Notes what it is told.

    ``outcomes`` are the ends it was told (one, if all is well), ``told`` everything in order.
    """

    TERMINAL = ("succeeded", "failed", "refused", "lost", "hard_limit_reached")

    def __init__(
        self,
        level: float = 2.0,
        *,
        soft: float | None = None,
        hard: float | None = None,
        args: tuple[object, ...] = (),
        on_told: Callable[[str], None] = lambda name: None,
    ) -> None:
        super().__init__()
        self.level = level
        self.told: list[tuple[str, Any]] = []
        self.pid: int | None = None
        self.is_admitted = True
        self._limits = Limits(soft, hard)
        self._args = args
        self._on_told = on_told

    @property
    def outcomes(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in self.told if name in self.TERMINAL]

    @property
    def outcome(self) -> str:
        """The name of its one end; "" while there is none."""
        assert len(self.outcomes) <= 1, f"told twice: {self.told}"
        return self.outcomes[0][0] if self.outcomes else ""

    @property
    def loss(self) -> Loss:
        assert self.outcome == "lost", self.told
        loss: Loss = self.outcomes[0][1]
        return loss

    def call(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return nothing, self._args

    def admitted(self) -> bool:
        return self.is_admitted

    def limits(self) -> Limits:
        return self._limits

    def started(self, pid: int, job_number: int, now: float) -> None:
        self.pid = pid
        self._note("started", job_number)

    def progressed(self, percent: float, message: str) -> None:
        self._note("progressed", (percent, message))

    def succeeded(self, value: Any) -> None:
        self._note("succeeded", value)

    def failed(self, failure: RemoteFailure) -> None:
        self._note("failed", failure)

    def refused(self, exc: Exception) -> None:
        self._note("refused", exc)

    def lost(self, loss: Loss) -> None:
        self._note("lost", loss)

    def soft_limit_reached(self, limit: float) -> None:
        self._note("soft_limit_reached", limit)

    def hard_limit_reached(self, limit: float) -> None:
        self._note("hard_limit_reached", limit)

    def _note(self, name: str, value: object) -> None:
        self.told.append((name, value))
        self._on_told(name)


class World:
    """An engine and all it touches; a context manager that proves that nothing is left.

    Arguments:
        children: how many there are, ready, at the start.
    """

    def __init__(
        self,
        children: int = 0,
        *,
        aging: float = 30.0,
        memory: MemoryLimits | None = None,
        max_tasks: int | None = None,
        start_timeout: float = 4.0,
        hello: bytes | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.max_tasks = max_tasks
        self.driver = HandDriver(self.clock)
        self.source = FakeSource()
        self.source.hello = hello
        self.memory: dict[int, int] = {}  # resident bytes by pid
        options = EngineOptions(
            aging=aging,
            memory=memory or MemoryLimits(),
            memory_probe=self.memory.get,
            crew=CrewOptions(start_timeout=start_timeout, max_tasks=max_tasks),
        )
        self.engine = Engine(self.source, options, self.driver, self.clock)
        if children:
            self.engine.resize(children)
            self.get_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.engine.kill()
        if exc_type is None:
            self.assert_empty()

    # ── going on ─────────────────────────────────────────────────────────────────────────

    def turn(self) -> None:
        """Let the engine do everything it can do now."""
        self.driver.turn()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all that becomes due on the way at its time."""
        until = self.clock.now + seconds
        self.turn()
        while self.driver.wake is not None and self.driver.wake[0] <= until:
            self.clock.now = max(self.clock.now, self.driver.wake[0])
            self.turn()
        self.clock.now = until
        self.turn()

    def get_ready(self) -> None:
        """Have every starting child become ready."""
        self.turn()
        while starting := self.in_state(WorkerState.STARTING):
            for child in starting:
                child.ready()
            self.turn()

    def submit(self, job: RecordedJob | None = None, **options: Any) -> RecordedJob:
        """Submit a job; by default one made with these options."""
        job = job or RecordedJob(**options)
        self.engine.submit(job)
        return job

    # ── looking ──────────────────────────────────────────────────────────────────────────

    @property
    def children(self) -> list[FakeChild]:
        """Those alive, oldest first."""
        return [child for child in self.source.children if child.alive]

    def child(self, place: int) -> FakeChild:
        """One of those alive, oldest first."""
        return self.children[place]

    def running(self, job: RecordedJob) -> FakeChild:
        """The child that runs a job."""
        assert job.state is JobState.RUNNING, job.told
        return next(child for child in self.children if child.pid == job.pid)

    def worker(self, child: FakeChild) -> Worker:
        """What the engine knows of a child."""
        return next(w for w in self.engine.workers() if w.number == child.number)

    def in_state(self, state: WorkerState) -> list[FakeChild]:
        """Children alive that the engine takes to be in this state."""
        known = {w.number for w in self.engine.workers() if w.state is state}
        return [child for child in self.children if child.number in known]

    def states(self) -> list[str]:
        """The states of all workers, sorted."""
        return sorted(worker.state.value for worker in self.engine.workers())

    def assert_empty(self) -> None:
        """Nothing is left: no child, no server, no descriptor."""
        assert self.children == []
        assert all(server.closed for server in self.source.servers)
        assert all(child.ours.fileno() == -1 for child in self.source.children)
        assert self.engine.workers() == []
        assert self.engine.running == self.engine.waiting == 0
