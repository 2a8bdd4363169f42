"""A real engine with real children and no broker: plain functions run, and one can look.

The test's own thread turns the pool's loop (:meth:`Pool.until`), so the pool changes only while
the test waits for something, and every change can be looked at as it happens; except for a pool
that is ``threaded``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from celery_workerpool.adapter.runtime import CeleryRuntime
from celery_workerpool.engine.drivers import Callback, PollDriver, ThreadDriver
from celery_workerpool.engine.engine import Engine
from celery_workerpool.engine.jobs import Job, JobState
from celery_workerpool.engine.options import CrewOptions, EngineOptions, HealthOptions
from celery_workerpool.engine.worker import Worker
from celery_workerpool.events import PoolEvent
from celery_workerpool.process.forkserver import ForkServer
from celery_workerpool.process.launcher import Launcher
from celery_workerpool.process.oom import OomWatch
from celery_workerpool.types import Limits, Loss, MemoryLimits, RemoteFailure, WorkerState

from .leaks import children_of, is_running, no_leaks
from .waiting import PATIENCE, wait_until

T = TypeVar("T")

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37


class PlainRuntime(CeleryRuntime):
    """Children without Celery; results and exceptions are told as in a Celery worker."""

    report_memory = False
    heartbeat: float | None = 1.0

    def __init__(self) -> None:
        pass

    def before_serving(self) -> None:
        pass

    def before_ready(self) -> None:
        pass

    def before_exit(self, exitcode: int) -> None:
        pass


class Call(Job):
    """A function called in a child, and all that the pool has said about it, in order."""

    def __init__(
        self, function: Callable[..., object], args: tuple[object, ...], limits: Limits
    ) -> None:
        super().__init__()
        self.history: list[str] = []
        self.pid: int | None = None
        self.value: Any = None
        self.failure: RemoteFailure | None = None
        self.loss: Loss | None = None
        self.refusal: Exception | None = None
        self.hard_limit: float | None = None
        self.ended_at: float | None = None  # monotonic seconds
        self._function = function
        self._args = args
        self._limits = limits

    @property
    def outcome(self) -> str:
        """One of ``value, failure, loss, refusal, hard limit``; "" while there is none."""
        return self.history[-1] if self.ended_at is not None else ""

    @property
    def running(self) -> bool:
        return self.state is JobState.RUNNING

    def call(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._function, self._args

    def admitted(self) -> bool:
        return True

    def limits(self) -> Limits:
        return self._limits

    def started(self, pid: int, now: float) -> None:
        self.pid = pid
        self.history.append("started")

    def succeeded(self, value: Any) -> None:
        self.value = value
        self._end("value")

    def failed(self, failure: RemoteFailure) -> None:
        self.failure = failure
        self._end("failure")

    def refused(self, exc: Exception) -> None:
        self.refusal = exc
        self._end("refusal")

    def lost(self, loss: Loss) -> None:
        self.loss = loss
        self._end("loss")

    def soft_limit_reached(self, limit: float) -> None:
        self.history.append("soft limit")

    def hard_limit_reached(self, limit: float) -> None:
        self.hard_limit = limit
        self._end("hard limit")

    def _end(self, outcome: str) -> None:
        self.history.append(outcome)
        self.ended_at = time.monotonic()

    def check(self) -> None:
        """It was started at most once, before the end, and ended exactly once."""
        ends = [word for word in self.history if word not in ("started", "soft limit")]
        assert len(ends) == 1, self.history
        begins = [] if ends == ["refusal"] else ["started"]
        middle = self.history[len(begins) : -1]
        assert self.history[: len(begins)] == begins, self.history
        assert middle in ([], ["soft limit"]), self.history


class Pool:
    """An engine with ``size`` ready children; a context manager that leaves nothing behind.

    Arguments:
        oom_counter: the file in which the kernel counts its kills.
        health: when children count as unhealthy; by default never.
        ready: wait for the children.
        check_leaks: off where pools live side by side and somebody else looks.
        threaded: the loop turns in a thread of its own, not in the test's.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        spawn: bool = False,
        runtime: CeleryRuntime | None = None,
        start_timeout: float = PATIENCE,
        max_tasks: int | None = None,
        memory: MemoryLimits | None = None,
        sample_interval: float = 1.0,
        oom_counter: Path | None = None,
        health: HealthOptions | None = None,
        ready: bool = True,
        check_leaks: bool = True,
        threaded: bool = False,
    ) -> None:
        self.size = size
        self.calls: list[Call] = []
        self.observers: list[Callable[[], None]] = []
        self.events: list[PoolEvent] = []
        health = health or HealthOptions()
        runtime = runtime or PlainRuntime()
        runtime.heartbeat = health.heartbeat or runtime.heartbeat
        self._launcher = _Launcher(runtime, spawn=spawn)
        self._options = EngineOptions(
            memory=memory or MemoryLimits(),
            sample_interval=sample_interval,
            health=health,
            crew=CrewOptions(
                start_timeout=start_timeout, max_tasks=max_tasks, observe=self.events.append
            ),
        )
        self._oom_counter = oom_counter
        self._ready = ready
        self._check_leaks = check_leaks
        self._threaded = threaded
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._check_leaks:
            self._stack.enter_context(no_leaks())
        self._stack.enter_context(adopting_orphans(self._launcher.server_pids))
        self.driver: PollDriver = ThreadDriver() if self._threaded else _Driver(self._observe)
        self.engine = Engine(self._launcher, self._options, self.driver)
        if self._oom_counter is not None:
            self.engine._losses._oom = OomWatch(time.monotonic(), self._oom_counter)
        self.engine.resize(self.size)
        if self._ready:
            self.until(lambda: len(self.ready()) == self.size, "all children are ready")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            self.engine.kill()
            with contextlib.suppress(AssertionError):  # The test's own failure is the news.
                self._stack.close()
            return
        deadline = time.monotonic() + PATIENCE

        def between() -> None:
            if time.monotonic() > deadline:
                left = self.workers()
                self.engine.kill()
                raise AssertionError(f"the pool did not stop: {left}")

        self.engine.stop(between)
        self._stack.close()
        for call in self.calls:
            call.check()

    # ── giving it work ───────────────────────────────────────────────────────────────────

    def submit(
        self,
        function: Callable[..., object],
        *args: object,
        soft: float | None = None,
        hard: float | None = None,
    ) -> Call:
        call = Call(function, args, Limits(soft, hard))
        self.calls.append(call)
        self.engine.submit(call)
        return call

    def run(self, function: Callable[..., object], *args: object, **limits: float | None) -> Call:
        """Submit and wait for the end."""
        call = self.submit(function, *args, **limits)
        self.finish(call)
        return call

    def finish(self, *calls: Call) -> None:
        """Wait until all of them have ended."""
        self.until(lambda: all(call.outcome for call in calls), f"{len(calls)} calls have ended")

    def hold_all(self, folder: Path, count: int | None = None) -> list[int]:
        """Prove that ``count`` tasks, or ``size``, run together; the pids of their children."""
        release = folder / f"release-all{len(self.calls)}"
        calls = [self.submit(hold, str(release)) for _ in range(count or self.size)]
        self.until(lambda: all(call.running for call in calls), "all of them run together")
        release.touch()
        self.finish(*calls)
        assert [call.outcome for call in calls] == ["value"] * len(calls)
        assert [call.value for call in calls] == [call.pid for call in calls]
        return [call.value for call in calls]

    # ── the loop ─────────────────────────────────────────────────────────────────────────

    def until(
        self, condition: Callable[[], T], description: str, *, timeout: float = PATIENCE
    ) -> T:
        """Turn the loop until ``condition`` is true; its value."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {timeout:g} s: {description} (workers: {self.workers()})"
                )
            if isinstance(self.driver, ThreadDriver):
                time.sleep(0.005)
            else:
                self.driver.run_once(0.02)
        return value

    def move(self) -> None:
        """Let the loop turn in a thread of its own from now on, or in the test's again."""
        threaded = isinstance(self.driver, ThreadDriver)
        self.driver = _Driver(self._observe) if threaded else ThreadDriver()
        self.engine.attach(self.driver)

    def _observe(self) -> None:
        for observer in self.observers:
            observer()

    # ── looking at it ────────────────────────────────────────────────────────────────────

    @property
    def server_pids(self) -> list[int]:
        """Of all fork servers so far."""
        return self._launcher.server_pids

    def workers(self) -> list[Worker]:
        return self.engine.workers()

    def ready(self) -> list[Worker]:
        """Children that can take tasks, or have one."""
        return [w for w in self.workers() if w.live and w.state in (_IDLE, _BUSY)]

    def pids(self) -> set[int]:
        return {w.pid for w in self.workers() if w.pid is not None}


_IDLE, _BUSY = WorkerState.IDLE, WorkerState.BUSY


class _Launcher(Launcher):
    """Remembers the servers it has started."""

    def __init__(self, runtime: CeleryRuntime, *, spawn: bool) -> None:
        super().__init__(runtime, spawn=spawn)
        self.server_pids: list[int] = []

    def start_server(self) -> ForkServer:
        server = super().start_server()
        self.server_pids.append(server.pid)
        return server


class _Driver(PollDriver):
    """Tells after each single callback that something may have changed."""

    def __init__(self, observe: Callback) -> None:
        super().__init__()
        self._observe = observe

    def add_reader(self, fd: int, callback: Callback) -> None:
        super().add_reader(fd, lambda: self._observed(callback))

    def wake_at(self, when: float | None, callback: Callback) -> None:
        super().wake_at(when, lambda: self._observed(callback))

    def _observed(self, callback: Callback) -> None:
        callback()
        self._observe()


@contextlib.contextmanager
def adopting_orphans(server_pids: list[int]) -> Iterator[None]:
    """Descendants that lose their parent become this process's children, and are noticed.

    Fails if one lives on. The fork servers are the pool's own to reap: what is left of one
    stays, for :func:`tests.support.leaks.no_leaks` to find.
    """
    before = set(children_of(os.getpid()))
    adopted_before = _adopts_orphans()
    _adopt_orphans(True)
    try:
        yield
        wait_until(lambda: not _living(before), f"no descendant lives: {_living(before)}")
    finally:
        for pid in _living(before):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in set(children_of(os.getpid())) - before - set(server_pids):
            os.waitpid(pid, 0)
        _adopt_orphans(adopted_before)


def _adopts_orphans() -> bool:
    flag = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    return bool(flag.value)


def _adopt_orphans(on: bool) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")


def _living(before: set[int]) -> list[int]:
    return [pid for pid in children_of(os.getpid()) if pid not in before and is_running(pid)]


def hold(release: str) -> int:
    """A task that goes on until the file exists."""
    while not Path(release).exists():
        time.sleep(0.005)
    return os.getpid()


def living_descendants() -> set[int]:
    """Everything alive that this process has started, directly or not."""
    return {p.pid for p in psutil.Process().children(recursive=True) if is_running(p.pid)}


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
