"""What turns the engine: kombu's Hub, a loop turned by hand, a loop in a thread."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kombu.asynchronous import Hub

from celery_workerpool.engine.drivers import Driver, HubDriver, PollDriver, ThreadDriver
from celery_workerpool.engine.jobs import JobState
from tests.support.waiting import wait_until
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("leak_check")


class OnHub:
    """A driver on a real Hub, and how to turn it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.driver: Driver = HubDriver(self.hub)
        self._loop = self.hub.create_loop()

    def turn(self) -> None:
        self.hub.call_later(0.001, lambda: None)  # So that polling does not wait.
        next(self._loop)

    def close(self) -> None:
        self.driver.close()
        self._loop.close()
        self.hub.close()


class OnPoll:
    def __init__(self) -> None:
        self.driver = PollDriver()

    def turn(self) -> None:
        self.driver.run_once(0.01)

    def close(self) -> None:
        self.driver.close()


class OnThread:
    def __init__(self) -> None:
        self.driver = ThreadDriver()

    def turn(self) -> None:
        """It turns by itself."""

    def close(self) -> None:
        self.driver.close()


Loop = OnHub | OnPoll | OnThread


@pytest.fixture(params=[OnHub, OnPoll, OnThread], ids=["hub", "poll", "thread"])
def loop(request: pytest.FixtureRequest, leak_check: None) -> Iterator[Loop]:
    """One of each; the leak check comes after its end."""
    loop = request.param()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def until(loop: Loop, condition: Callable[[], object], description: str) -> None:
    def turned() -> object:
        loop.turn()
        return condition()

    wait_until(turned, description, every=0.001)


def settle(loop: Loop) -> None:
    """Return when the loop has come round, and done what was there to do before."""
    a, b = socket.socketpair()
    b.send(b"x")
    done: list[int] = []

    def once() -> None:
        loop.driver.remove_reader(a.fileno())
        done.append(1)

    loop.driver.add_reader(a.fileno(), once)
    until(loop, lambda: done, "the loop has come round")
    a.close()
    b.close()


def test_a_reader_is_called_while_there_is_something(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    a, b = pair
    got: list[bytes] = []
    loop.driver.add_reader(a.fileno(), lambda: got.append(a.recv(3)))
    b.send(b"abcdef")
    until(loop, lambda: len(got) == 2, "it was called twice")
    loop.driver.remove_reader(a.fileno())
    loop.driver.remove_reader(a.fileno())
    b.send(b"more")
    settle(loop)
    assert got == [b"abc", b"def"]


def test_a_reader_is_called_at_the_end(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    a, b = pair
    ended: list[bytes] = []

    def read() -> None:
        ended.append(a.recv(1))
        loop.driver.remove_reader(a.fileno())

    loop.driver.add_reader(a.fileno(), read)
    b.close()
    until(loop, lambda: ended, "end of file")
    assert ended == [b""]


@pytest.mark.parametrize("make", [OnHub, OnPoll])
def test_a_reader_may_remove_itself_and_another(
    make: Callable[[], Loop], pair: tuple[socket.socket, socket.socket]
) -> None:
    loop, (a, b) = make(), pair
    called: list[str] = []

    def once(name: str) -> None:
        called.append(name)
        loop.driver.remove_reader(a.fileno())
        loop.driver.remove_reader(b.fileno())

    a.send(b"x")
    b.send(b"x")
    loop.driver.add_reader(a.fileno(), lambda: once("a"))
    loop.driver.add_reader(b.fileno(), lambda: once("b"))
    until(loop, lambda: called, "one was called")
    settle(loop)
    assert len(called) == 1
    loop.close()


def test_reading_and_writing_the_same_descriptor(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    a, b = pair
    got: list[bytes] = []
    written: list[int] = []

    def write() -> None:
        written.append(a.send(b"out"))
        loop.driver.remove_writer(a.fileno())

    loop.driver.add_reader(a.fileno(), lambda: got.append(a.recv(10)))
    loop.driver.add_writer(a.fileno(), write)
    until(loop, lambda: written, "the writer was called")
    loop.driver.remove_writer(a.fileno())
    b.send(b"in")
    until(loop, lambda: got, "the reader still works")
    assert (got, written, b.recv(10)) == ([b"in"], [3], b"out")
    loop.driver.remove_reader(a.fileno())


def test_a_wake_up_comes_once_and_not_early(loop: Loop) -> None:
    calls: list[float] = []
    when = time.monotonic() + 0.05
    loop.driver.wake_at(when, lambda: calls.append(time.monotonic()))
    until(loop, lambda: calls, "the wake-up")
    settle(loop)
    assert len(calls) == 1
    assert calls[0] >= when - 0.001  # The Hub's clock and ours differ by less.


def test_a_time_that_has_passed_is_now(loop: Loop) -> None:
    calls: list[int] = []
    loop.driver.wake_at(time.monotonic() - 100.0, lambda: calls.append(1))
    until(loop, lambda: calls, "the wake-up")


def test_another_wake_up_replaces_the_one_before(loop: Loop) -> None:
    calls: list[str] = []
    loop.driver.wake_at(time.monotonic() + 3600.0, lambda: calls.append("late"))
    loop.driver.wake_at(time.monotonic(), lambda: calls.append("soon"))
    until(loop, lambda: calls, "the wake-up")
    assert calls == ["soon"]


def test_a_wake_up_that_was_cancelled_does_not_come(loop: Loop) -> None:
    calls: list[str] = []
    in_time = False
    while not in_time:  # A machine that is slow just then may be woken before it can cancel.
        calls.clear()
        when = time.monotonic() + 0.05
        loop.driver.wake_at(when, lambda: calls.append("cancelled"))
        loop.driver.wake_at(None, lambda: calls.append("never"))
        in_time = time.monotonic() < when
    until(loop, lambda: time.monotonic() > when + 0.05, "the time has passed")
    assert calls == []


def test_a_wake_up_may_ask_for_the_next(loop: Loop) -> None:
    calls: list[int] = []

    def again() -> None:
        calls.append(1)
        if len(calls) < 3:
            loop.driver.wake_at(time.monotonic(), again)

    loop.driver.wake_at(time.monotonic(), again)
    until(loop, lambda: len(calls) == 3, "three wake-ups")


def test_nothing_comes_after_the_end(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    calls: list[str] = []
    loop.driver.add_reader(a.fileno(), lambda: calls.append("reader"))
    loop.driver.wake_at(time.monotonic() + 0.02, lambda: calls.append("time"))
    loop.driver.close()
    calls.clear()
    b.send(b"x")
    deadline = time.monotonic() + 0.05
    if isinstance(loop, OnHub):
        until(loop, lambda: time.monotonic() > deadline, "the time has passed")
    assert calls == []


def test_a_round_that_a_signal_handler_closes_ends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A cold shutdown interrupts a warm one, and takes its loop away while that waits."""
    driver = PollDriver()
    driver.add_reader(pair[0].fileno(), lambda: None)
    before = signal.signal(signal.SIGALRM, lambda *_: driver.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        driver.run_once(60.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    driver.run_once(60.0)


def test_a_thread_ends_with_its_driver_also_from_within() -> None:
    driver = ThreadDriver()
    driver.close()
    driver.close()
    inside = ThreadDriver()
    inside.wake_at(time.monotonic(), inside.close)
    wait_until(
        lambda: not any(t.name == "workerpool-engine" for t in threading.enumerate()),
        "no thread is left",
    )


def test_a_thread_goes_on_while_another_moves_its_wake_up() -> None:
    driver = ThreadDriver()
    calls: list[int] = []
    for _ in range(2000):
        driver.wake_at(time.monotonic(), lambda: calls.append(1))
        driver.wake_at(None, lambda: None)
    driver.wake_at(time.monotonic(), lambda: calls.append(2))
    wait_until(lambda: 2 in calls, "the thread lives")
    driver.close()


# ── the engine moves ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", [OnHub, OnPoll, OnThread])
@pytest.mark.parametrize("target", [OnHub, OnPoll, OnThread])
def test_a_job_in_flight_moves_with_the_engine(
    source: Callable[[], Loop], target: Callable[[], Loop]
) -> None:
    before, after = source(), target()
    with World(children=2) as world:
        world.engine.attach(before.driver)
        large = world.submit(args=(b"x" * 2**20,))  # half of it waits for the socket
        small = world.submit()
        world.engine.attach(after.driver)
        child, other = world.running(large), world.running(small)
        other.succeed("small")
        until(after, lambda: small.outcome, "the answer of the small one")

        def has_come() -> bool:
            child.listen()
            return child.job is not None

        until(after, has_come, "all of the large one has come")
        child.succeed("large")
        until(after, lambda: large.outcome, "the answer of the large one")
        assert (small.outcomes, large.outcomes) == (
            [("succeeded", "small")],
            [("succeeded", "large")],
        )
    before.close()
    after.close()


def test_the_engine_may_be_attached_to_the_same_hub_again() -> None:
    loop = OnHub()
    with World(children=1) as world:
        world.engine.attach(loop.driver)
        job = world.submit()
        world.engine.attach(HubDriver(loop.hub))
        world.running(job).succeed()
        until(loop, lambda: job.outcome, "the answer")
    loop.close()


def test_a_limit_holds_on_the_next_driver() -> None:
    loop = OnPoll()
    with World(children=1) as world:
        job = world.submit(hard=5.0)
        world.clock.now = 5.0  # Far behind the real clock: due at once.
        world.engine.attach(loop.driver)
        until(loop, lambda: job.outcome, "the hard limit")
        assert job.outcome == "hard_limit_reached"
        assert job.state is JobState.ENDED
    loop.close()


def test_a_callback_that_raises_does_not_end_the_pool_s_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = ThreadDriver()
    try:
        woken = threading.Event()
        driver.wake_at(0.0, lambda: 1 // 0)
        wait_until(lambda: "in the pool's loop" in caplog.text, "the error is logged")
        driver.wake_at(0.0, woken.set)
        assert woken.wait(30)
    finally:
        driver.close()
