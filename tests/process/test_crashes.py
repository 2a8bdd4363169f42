"""Whatever a task does: its own outcome is exact, no other task is hurt, nothing is left."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from celery_workerpool.process.memory import resident
from celery_workerpool.types import LossCause, MemoryLimits, mebibytes
from tests.support.leaks import is_running, no_leaks
from tests.support.pool import Call, Pool, hold, living_descendants, open_descriptors

from . import victims

METHODS = ["fork", "spawn"]
EVIL = Path("evil")  # stands for a file that must not come into being


@dataclass(frozen=True)
class Lost:
    """The child died, and so did its task."""

    exitcode: int
    headline: str
    cause: LossCause = LossCause.EXITED

    @classmethod
    def by(cls, exitcode: int, status: str) -> Lost:
        return cls(exitcode, f"Worker exited prematurely: {status}")

    def check(self, call: Call) -> None:
        loss = call.loss
        assert call.outcome == "loss" and loss is not None
        assert (loss.cause, loss.exitcode, loss.pid) == (self.cause, self.exitcode, call.pid)
        memory = r"\d+\.\d MiB resident \d+\.\d s before its end"
        expected = rf"{re.escape(self.headline)} \(pid {call.pid}, "
        assert re.fullmatch(expected + memory + r", no OOM kill\)\.", str(loss))
        assert loss.rss is not None and loss.rss > 5 * 2**20
        assert loss.oom_killed is False


@dataclass(frozen=True)
class Raised:
    """The child told of an exception."""

    name: str
    args: tuple[object, ...] | None = None  # None: not looked at
    control: str = ""
    lives: bool = True  # the child

    def check(self, call: Call) -> None:
        failure = call.failure
        assert call.outcome == "failure" and failure is not None
        assert (failure.name, failure.control) == (self.name, self.control)
        assert self.args is None or failure.args == self.args
        assert failure.traceback


@dataclass(frozen=True)
class Returned:
    value: object = None
    spoils: bool = False  # the child, for the rows to come
    lives = True

    def check(self, call: Call) -> None:
        assert (call.outcome, call.value) == ("value", self.value), call.loss


@dataclass(frozen=True)
class Refused:
    """It was never sent to a child."""

    text: str
    lives = True

    def check(self, call: Call) -> None:
        assert call.outcome == "refusal" and self.text in str(call.refusal)


Expected = Lost | Raised | Returned | Refused
Row = tuple[str, Callable[..., object], tuple[object, ...], Expected]

CHANNEL_CLOSED = Lost(
    74, "Worker lost its connection to the pool: the task closed it", LossCause.CHANNEL
)
CRASHES: list[Row] = [
    ("segfault", victims.segfault, (), Lost.by(-11, "signal 11 (SIGSEGV)")),
    ("SIGKILL", victims.kill_self, (), Lost.by(-9, "signal 9 (SIGKILL)")),
    ("SIGABRT", victims.abort, (), Lost.by(-6, "signal 6 (SIGABRT)")),
    ("os._exit(0)", os._exit, (0,), Lost.by(0, "exitcode 0")),
    ("os._exit(3)", os._exit, (3,), Lost.by(3, "exitcode 3")),
    ("stack overflow", victims.overflow_the_stack, (), Lost.by(-11, "signal 11 (SIGSEGV)")),
    ("closed descriptors", victims.close_descriptors, (), CHANNEL_CLOSED),
    (
        "reopened descriptors",
        victims.close_and_reopen_descriptors,
        ("/dev/null",),
        CHANNEL_CLOSED,
    ),
    ("sys.exit(3)", sys.exit, (3,), Raised("SystemExit", (3,), "exit", lives=False)),
    ("sys.exit()", sys.exit, (), Raised("SystemExit", (), "exit", lives=False)),
    ("sys.exit(text)", sys.exit, ("so",), Raised("SystemExit", ("so",), "exit", lives=False)),
    (
        "KeyboardInterrupt",
        victims.raise_keyboard_interrupt,
        (),
        Raised("KeyboardInterrupt", (), "interrupt", lives=False),
    ),
    ("BaseException", victims.raise_unusual, (), Raised("Unusual", ("very",))),
    ("MemoryError", victims.raise_memory_error, (), Raised("MemoryError", ())),
    ("RecursionError", victims.recurse, (), Raised("RecursionError")),
    ("constructor with arguments", victims.raise_needy, (), Raised("Needy", ())),
    ("secretive exception", victims.raise_secretive, (), Raised("Secretive", ())),
    ("unpicklable exception", victims.raise_unpicklable, (), Raised("ValueError")),
    ("evil exception", victims.raise_evil, (EVIL,), Raised("Evil")),
    ("evil result", victims.return_evil, (EVIL,), Raised("ResultNotPlain")),
    ("result is an object", victims.return_object, (), Raised("ResultNotPlain")),
    ("unpicklable result", victims.return_unpicklable, (), Raised("AttributeError")),
    ("unpicklable argument", victims.nothing, (lambda: None,), Refused("pickle")),
    (
        "argument that does not unpickle",
        victims.nothing,
        (victims.BadArgument(),),
        Raised("ValueError", ("argument", 1)),
    ),
    ("fork, both raise", victims.fork_and_raise, (), Raised("ValueError", ("twice",))),
    (
        "fork, both exit",
        victims.fork_and_exit,
        (),
        Raised("SystemExit", (3,), "exit", lives=False),
    ),
    ("10 MB of output", victims.flood_output, (10_000_000,), Returned(10_000_000)),
    ("changed surroundings", victims.change_surroundings, ("/",), Returned("/", spoils=True)),
    ("blocked signals", victims.block_signals, (), Returned("blocked", spoils=True)),
    ("threads left", victims.leave_threads, (), Returned(2, spoils=True)),
]


def rows(table: list[Row]) -> list[object]:
    return [pytest.param(*row[1:], id=row[0]) for row in table]


class Pools:
    """One pool per start method for the whole table: each row finds what the last has left."""

    def __init__(self, stack: ExitStack, oom_counter: Path) -> None:
        self._stack = stack
        self._oom_counter = oom_counter
        self._pools: dict[str, Pool] = {}

    def get(self, method: str) -> Pool:
        if method not in self._pools:
            spawn = method == "spawn"
            pool = Pool(2, spawn=spawn, oom_counter=self._oom_counter, check_leaks=False)
            self._pools[method] = self._stack.enter_context(pool)
        return self._pools[method]

    def strays(self) -> set[int]:
        """Living descendants of this process that are no fork server and no child of a pool."""
        pools = self._pools.values()
        own = {pid for pool in pools for pid in (*pool.server_pids, *pool.pids())}
        return living_descendants() - own


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    # The cgroup that the pools look at is one where the kernel has killed nothing.
    counter = tmp_path_factory.mktemp("cgroup") / "memory.events"
    counter.write_text("low 0\noom 0\noom_kill 0\n")
    with no_leaks(), ExitStack() as stack:
        yield Pools(stack, counter)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("function", "args", "expected"), rows(CRASHES))
def test_outcome_is_exact_and_nothing_else_is_hurt(
    method: str,
    function: Callable[..., object],
    args: tuple[object, ...],
    expected: Expected,
    tmp_path: Path,
    pools: Pools,
) -> None:
    evil = tmp_path / EVIL
    args = tuple(str(evil) if arg is EVIL else arg for arg in args)
    surroundings = victims.surroundings()
    pool = pools.get(method)
    descriptors, threads = open_descriptors(), threading.active_count()
    bystander = pool.submit(hold, str(tmp_path / "release"))

    call = pool.run(function, *args)

    expected.check(call)
    if call.pid is not None:
        lives = getattr(expected, "lives", False)
        pool.until(lambda: (call.pid in pool.pids()) is lives, "its child stays or goes")
    (tmp_path / "release").touch()
    pool.finish(bystander)
    assert bystander.value == bystander.pid
    pool.hold_all(tmp_path)
    if getattr(expected, "spoils", False):
        os.kill(call.pid or 0, signal.SIGKILL)
        pool.until(lambda: call.pid not in pool.pids(), "the death is noticed")
    pool.until(lambda: len(pool.ready()) == 2 == len(pool.pids()), "all children are ready")
    pool.until(lambda: not pools.strays(), "no process is left")
    assert (open_descriptors(), threading.active_count()) == (descriptors, threads)
    assert not evil.exists()
    assert victims.surroundings() == surroundings


@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_forks_is_answered_once(method: str, tmp_path: Path) -> None:
    with Pool(1, spawn=method == "spawn") as pool:
        call = pool.run(victims.fork_and_return)
        assert call.value == call.pid
        assert pool.hold_all(tmp_path) == [call.pid]


@pytest.mark.parametrize("method", METHODS)
def test_a_grandchild_that_holds_the_socket_delays_nothing_and_dies(
    method: str, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with Pool(1, spawn=method == "spawn") as pool:
        call = pool.run(victims.leave_grandchild_and_die, str(note))
        assert call.loss is not None and call.loss.exitcode == -11
        pool.until(lambda: not is_running(int(note.read_text())), "the grandchild is gone")
        pool.hold_all(tmp_path)


@pytest.mark.parametrize("leave", [victims.leave_grandchild, victims.leave_program])
def test_a_grandchild_outlives_its_task_but_not_its_child(
    leave: Callable[[str], int], tmp_path: Path
) -> None:
    with Pool(1) as pool:
        grandchild = pool.run(leave, str(tmp_path / "pid")).value
        assert is_running(grandchild)
        pool.hold_all(tmp_path)
        assert is_running(grandchild)
    assert not is_running(grandchild)


def test_a_grandchild_dies_with_a_child_killed_for_its_time_limit(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with Pool(1) as pool:
        call = pool.submit(victims.leave_grandchild_and_go_on, str(note), hard=0.5)
        pool.finish(call)
        assert call.outcome == "hard limit"
        pool.until(lambda: call.pid not in pool.pids(), "the child is reaped")
        pool.until(lambda: not is_running(int(note.read_text())), "the grandchild is gone")
        pool.hold_all(tmp_path)


@pytest.mark.parametrize("inner", METHODS)
@pytest.mark.parametrize("method", METHODS)
def test_a_task_may_use_multiprocessing(method: str, inner: str, tmp_path: Path) -> None:
    with Pool(1, spawn=method == "spawn") as pool:
        call = pool.run(victims.use_multiprocessing, inner)
        assert call.value == [1, 2, 3], call.failure
        assert pool.hold_all(tmp_path) == [call.pid]


def test_a_process_that_a_task_forks_dies_of_the_signals_that_end_a_task() -> None:
    with Pool(1) as pool:
        assert pool.run(victims.fork_and_terminate).value == -signal.SIGTERM


def more_than_a_fork_holds() -> int:
    """Bytes; this process may have loaded much for other tests."""
    return (resident(os.getpid()) or 0) + 100 * 2**20


@pytest.mark.parametrize("method", METHODS)
def test_a_child_over_the_kill_limit_ends_while_its_task_runs(method: str, tmp_path: Path) -> None:
    limit = more_than_a_fork_holds()
    memory = MemoryLimits(recycle=limit, kill=limit)
    with Pool(2, spawn=method == "spawn", memory=memory, sample_interval=0.05) as pool:
        bystander = pool.submit(hold, str(tmp_path / "release"))
        call = pool.run(victims.hoard, str(tmp_path / "never"), limit)
        assert call.loss is not None and call.loss.rss is not None
        assert (call.loss.cause, call.loss.exitcode) == (LossCause.MEMORY, -9)
        assert call.loss.rss > limit
        assert str(call.loss).startswith(
            f"Memory limit of {mebibytes(limit)} exceeded: child killed"
        )
        (tmp_path / "release").touch()
        pool.finish(bystander)
        assert bystander.value == bystander.pid
        pool.hold_all(tmp_path)


def test_a_child_over_the_recycle_limit_goes_after_its_task(tmp_path: Path) -> None:
    limit = more_than_a_fork_holds()
    memory = MemoryLimits(recycle=limit)
    with Pool(1, memory=memory, sample_interval=0.05) as pool:
        call = pool.submit(victims.hoard, str(tmp_path / "release"), limit)
        pool.until(lambda: {w.pid for w in pool.ready()} - {call.pid}, "a replacement is ready")
        assert call.running
        (tmp_path / "release").touch()
        pool.finish(call)
        assert call.value == limit
        assert pool.run(victims.pid).value != call.pid


def test_a_kill_by_the_kernel_is_told_apart(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 0\noom_kill 0\n")
    with Pool(1, oom_counter=counter) as pool:
        call = pool.submit(victims.kill_self)
        counter.write_text("low 0\noom 1\noom_kill 1\n")
        pool.finish(call)
        assert call.loss is not None and call.loss.oom_killed is True
        assert str(call.loss).endswith(", killed by the kernel's OOM killer).")


def test_a_grandchild_of_its_own_session_dies_with_a_killed_child(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with Pool(1) as pool:
        call = pool.submit(victims.leave_grandchild_of_its_own_session, str(note), hard=5.0)
        pool.until(lambda: note.exists() and note.read_text(), "there is a grandchild")
        pool.until(lambda: call.outcome, "the limit has come")
        assert call.outcome == "hard limit"
        pool.until(lambda: not is_running(int(note.read_text())), "the grandchild is gone")
