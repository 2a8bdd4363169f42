"""The handle between a Celery request and the engine."""

from __future__ import annotations

import signal
from dataclasses import astuple, replace
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import Terminated, WorkerLostError
from celery.app.trace import fast_trace_task
from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_workerpool.adapter.handle import TaskHandle, bare_call, seconds
from celery_workerpool.adapter.quarantine import Quarantine
from celery_workerpool.adapter.shutdown import HardShutdown
from celery_workerpool.errors import InvalidTaskError, PoisonTaskError
from celery_workerpool.events import PoolEvent
from celery_workerpool.gate.records import EndKind
from celery_workerpool.metrics import Ledger
from celery_workerpool.types import Limits, Loss, LossCause, RemoteFailure
from tests.support.waiting import wait_until
from tests.support.world import World

LOSS = Loss(LossCause.EXITED, 7, -11, "signal 11 (SIGSEGV)")
FAILURE = RemoteFailure("shop", "OutOfStock", ("tea",), "OutOfStock('tea')", "Traceback")
BODY = b"[[1, 2], {}, {}]"


def add(a: int, b: int) -> int:
    return a + b


class Callbacks:
    """Records what a request would be told."""

    NAMES = ("accept_callback", "callback", "error_callback", "timeout_callback")

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def all(self) -> dict[str, Any]:
        return {name: self._recorder(name) for name in self.NAMES}

    def _recorder(self, name: str) -> Any:
        return lambda *args: self.told.append((name, *args))


class NoQuarantine:
    """No task is poison."""

    def question(self, request: Any, loss: Loss) -> None:
        return None

    def judge(self, request: Any, loss: Loss, stored: int | None) -> None:
        return None


class FakeRequest(Request):
    """A request with just what a handle looks at."""

    def __init__(self, **fields: Any) -> None:
        self.asked = 0
        self.acknowledged_ = 0
        self._is_revoked = fields.pop("is_revoked", False)
        fields.setdefault("expires", None)
        self.fields = {
            "id": "task-1",
            "time_limits": (None, None),
            "task": SimpleNamespace(
                soft_time_limit=None, time_limit=None, acks_late=False, ignore_result=False
            ),
            **fields,
        }
        self.errors: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        fields = object.__getattribute__(self, "__dict__").get("fields", {})
        return fields[name] if name in fields else object.__getattribute__(self, name)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Its owner is how a handle finds the request."""

    def revoked(self) -> bool:
        self.asked += 1
        return bool(self._is_revoked)

    def acknowledge(self) -> None:
        self.acknowledged_ += 1


class OpenGate:
    """A gate that nobody waits at; remembers what has ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, EndKind, str, bool, bool]] = []

    def ended(
        self, task_id: str, kind: EndKind, error: str = "", *, urgent: bool, ignored: bool
    ) -> None:
        self.ends.append((task_id, kind, error, urgent, ignored))


def make_handle(
    callbacks: dict[str, Any] | None = None,
    *,
    target: Any = add,
    args: tuple[Any, ...] = (1, 2),
    soft: object = None,
    hard: object = None,
    default: Limits | None = None,
    engine: Any = None,
    ledger: Ledger | None = None,
    cold: HardShutdown | None = None,
    quarantine: Any = None,
    gate: Any = None,
) -> TaskHandle:
    return TaskHandle(
        engine,
        target,
        args,
        callbacks or {},
        soft,
        hard,
        default or Limits(),
        ledger or Ledger(),
        cold or HardShutdown(),
        NoQuarantine() if quarantine is None else quarantine,
        gate or OpenGate(),
    )


def for_request(request: FakeRequest, **options: Any) -> TaskHandle:
    callbacks = {
        "accept_callback": request.on_accepted,
        "error_callback": request.errors.append,
    }
    return make_handle(callbacks, **options)


# ── what the engine is told ──────────────────────────────────────────────────────────────────


def test_a_task_travels_with_its_body_and_without_a_second_copy_of_its_arguments() -> None:
    headers = {"id": "task-1", "args": [1, 2], "kwargs": {}, "retries": 0}
    handle = make_handle(
        target=fast_trace_task,
        args=("shop.add", "task-1", headers, BODY, "application/json", "utf-8"),
    )
    target, args = handle.call()
    assert target is fast_trace_task
    assert args == (
        "shop.add",
        "task-1",
        {"id": "task-1", "retries": 0},
        BODY,
        "application/json",
        "utf-8",
    )
    assert headers["args"] == [1, 2], "the request's own headers stay as they are"
    assert handle.headers is headers
    assert str(handle) == "shop.add[task-1]"


def test_a_task_without_an_encoded_body_keeps_its_arguments() -> None:
    args = ("shop.add", "task-1", {"args": [1, 2]}, ([1, 2], {}, {}), None, None)
    assert make_handle(target=fast_trace_task, args=args).call() == (fast_trace_task, args)


def test_a_bare_function_is_called_as_it_is() -> None:
    handle = make_handle()
    assert handle.call() == (add, (1, 2))
    assert handle.headers is None
    assert handle.admitted() is True
    assert str(handle) == "add"


def test_keyword_arguments_are_bound() -> None:
    assert bare_call(add, {}) is add
    assert bare_call(add, {"b": 5})(1) == 6


@pytest.mark.parametrize(
    ("own", "task", "default", "expected"),
    [
        ((None, None), (None, None), Limits(), Limits()),
        ((None, None), (None, None), Limits(1.0, 2.0), Limits(1.0, 2.0)),
        ((None, None), (3, 4), Limits(1.0, 2.0), Limits(3.0, 4.0)),
        ((6, 5), (3, 4), Limits(1.0, 2.0), Limits(5.0, 6.0)),
        ((None, 5), (None, 4), Limits(1.0, 2.0), Limits(5.0, 4.0)),
        ((0, 0), (0, 0), Limits(1.0, 2.0), Limits(1.0, 2.0)),
        (None, (3, 4), Limits(), Limits(3.0, 4.0)),
    ],
    ids=["none", "pool", "task", "message", "mixed", "zero is none", "no header"],
)
def test_limits_are_the_messages_else_the_tasks_else_the_pools(
    own: Any, task: Any, default: Limits, expected: Limits
) -> None:
    soft, hard = task
    live = SimpleNamespace(soft_time_limit=soft, time_limit=hard, acks_late=False)
    handle = for_request(FakeRequest(time_limits=own, task=live), default=default)
    assert handle.limits() == expected


def test_a_tasks_limits_are_read_when_it_starts() -> None:
    live = SimpleNamespace(soft_time_limit=1, time_limit=2, acks_late=False)
    handle = for_request(FakeRequest(task=live), soft=1, hard=2)
    live.soft_time_limit, live.time_limit = 30, 60
    assert handle.limits() == Limits(30.0, 60.0)


def test_a_bare_functions_limits_are_those_of_the_call() -> None:
    assert make_handle(soft=1, hard=2, default=Limits(9.0, 9.0)).limits() == Limits(1.0, 2.0)


@pytest.mark.parametrize(("value", "limit"), [(None, None), (0, None), (1, 1.0), (0.5, 0.5)])
def test_seconds(value: object, limit: float | None) -> None:
    assert seconds("time limit", value) == limit


@pytest.mark.parametrize("value", ["10", -1, True, [1, 2], float("nan"), object()])
def test_what_are_no_seconds(value: object) -> None:
    with pytest.raises(InvalidTaskError, match="seconds, as a number of at least 0, or None"):
        seconds("time limit", value)


@pytest.mark.parametrize(
    ("expires", "in_revoked", "asked"),
    [(None, False, 0), ("2030-01-01", False, 1), (None, True, 1)],
    ids=["nothing to ask", "it may have expired", "somebody revoked it"],
)
@pytest.mark.parametrize("revoked", [True, False])
def test_celery_is_asked_whether_a_task_may_start_only_if_it_may_not(
    expires: Any, in_revoked: bool, asked: int, revoked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_state, "revoked", {"task-1"} if in_revoked else set())
    monkeypatch.setattr(worker_state, "revoked_stamps", {})
    request = FakeRequest(expires=expires, is_revoked=revoked)
    assert for_request(request).admitted() is not (revoked and bool(asked))
    assert request.asked == asked


# ── what the request is told ─────────────────────────────────────────────────────────────────


def test_the_pid_is_a_plain_number_that_any_serializer_takes() -> None:
    callbacks = Callbacks()
    make_handle(callbacks.all()).started(4711, 3.5)
    assert callbacks.told == [("accept_callback", 4711, 3.5)]
    assert type(callbacks.told[0][1]) is int


def test_a_result_of_a_bare_function_passes_as_it_is() -> None:
    callbacks = Callbacks()
    make_handle(callbacks.all()).succeeded([3])
    assert callbacks.told == [("callback", [3])]


@pytest.mark.parametrize("failed", [0, 1])
def test_what_the_tracer_returned_is_rebuilt(failed: int) -> None:
    callbacks = Callbacks()
    headers = {"delivery_info": {}}
    handle = make_handle(
        callbacks.all(), target=fast_trace_task, args=("n", "i", headers, BODY, "j", "u")
    )
    handle.succeeded((failed, astuple(FAILURE) if failed else "3", 0.5))
    ((name, (flag, result, runtime)),) = callbacks.told
    assert (name, flag, runtime) == ("callback", failed, 0.5)
    assert (repr(result.exception) == FAILURE.repr) if failed else (result == "3")


def test_failures_losses_and_limits_reach_their_callbacks() -> None:
    callbacks = Callbacks()
    handle = make_handle(callbacks.all())
    handle.failed(FAILURE)
    handle.lost(LOSS)
    handle.soft_limit_reached(1.0)
    handle.hard_limit_reached(2.0)
    errors = [args[0].exception for name, *args in callbacks.told if name == "error_callback"]
    assert [repr(errors[0]), type(errors[1])] == [FAILURE.repr, WorkerLostError]
    assert callbacks.told[2:] == [
        ("timeout_callback", True, 1.0),
        ("timeout_callback", False, 2.0),
    ]


def test_a_handle_without_callbacks_is_told_in_vain() -> None:
    handle = make_handle()
    handle.started(1, 0.0)
    handle.succeeded(None)
    handle.failed(FAILURE)
    handle.refused(ValueError())
    handle.lost(LOSS)
    handle.soft_limit_reached(1.0)
    handle.hard_limit_reached(1.0)


def test_a_refused_task_is_acknowledged_after_its_error_is_stored() -> None:
    request = FakeRequest()
    for_request(request).refused(InvalidTaskError("timelimit", "soon", "seconds"))
    assert request.acknowledged_ == 1
    assert "timelimit = 'soon'" in str(request.errors[0].exception)


class SlowBackend:
    """A result backend that can count, and takes its time."""

    def __init__(self) -> None:
        self.may_answer = Event()

    def get_key_for_task(self, task_id: str, key: str) -> str:
        return task_id + key

    def incr(self, key: str) -> int:
        assert self.may_answer.wait(60)
        return 3

    def expire(self, key: str, seconds: int) -> None:
        """Never in a test."""


@pytest.mark.parametrize("cold", [False, True], ids=["answered", "cold shutdown"])
def test_a_crash_is_counted_by_a_slow_backend_while_the_pool_goes_on(
    cold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, events = SlowBackend(), list[PoolEvent]()
    quarantine = Quarantine(SimpleNamespace(backend=backend), 3, events.append)
    request = FakeRequest(name="shop.add", message=SimpleNamespace(headers={}, body=b""))
    with World(children=1) as world:
        for_request(request, engine=world.engine, quarantine=quarantine).lost(LOSS)
        job = world.submit()
        world.turn()
        world.running(job).succeed()
        world.turn()
        assert (job.outcome, request.errors, events) == ("succeeded", [], [])
        if cold:
            monkeypatch.setattr(worker_state, "should_terminate", True)
            world.engine.kill()
        backend.may_answer.set()
        wait_until(lambda: world.pass_time(0.1) or request.errors, "the task has its end")
        (told,) = request.errors
        assert type(told.exception) is (WorkerLostError if cold else PoisonTaskError)


@pytest.mark.parametrize(
    ("acks_late", "told"), [(False, WorkerLostError), (True, None)], ids=["early", "late"]
)
def test_a_cold_shutdown_ends_what_will_not_run_again(
    acks_late: bool, told: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_state, "should_terminate", 1)
    task = SimpleNamespace(soft_time_limit=None, time_limit=None, acks_late=acks_late)
    request = FakeRequest(task=task)
    for_request(request).lost(LOSS)
    assert [type(info.exception) for info in request.errors] == ([told] if told else [])


@pytest.mark.parametrize(
    ("acks_late", "revoked", "lines"),
    [
        (False, False, ["Task shop.add[task-1] was killed by the shutdown and will not run"]),
        (True, False, ["Tasks that the shutdown killed and that go back to the broker: 1"]),
        (False, True, []),
        (True, True, []),
    ],
    ids=["early", "late", "early, revoked", "late, revoked"],
)
def test_a_cold_shutdown_says_what_becomes_of_a_task(
    acks_late: bool,
    revoked: bool,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(worker_state, "should_terminate", True)
    task = SimpleNamespace(soft_time_limit=None, time_limit=None, acks_late=acks_late)
    request = FakeRequest(task=task, _already_revoked=revoked)
    cold = HardShutdown()
    handle = for_request(
        request,
        target=fast_trace_task,
        args=("shop.add", "task-1", {"delivery_info": {}}, BODY, "json", "utf-8"),
        cold=cold,
    )
    handle.lost(LOSS)
    for _ in range(2):  # A cold shutdown may interrupt a warm one; each comes to its end.
        cold.summarize()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(lines)
    assert all(map(str.startswith, said, lines)), said
    if revoked:
        assert request.errors == [], "it keeps the end it has"


# ── termination ──────────────────────────────────────────────────────────────────────────────


def test_terminating_a_handle_ends_its_job_and_says_by_which_signal() -> None:
    callbacks = Callbacks()
    with World(children=1) as world:
        handle = make_handle(callbacks.all(), engine=world.engine)
        world.engine.submit(handle)
        child = world.child(0)
        handle.terminate(signal.SIGTERM)
        assert child.signals == [signal.SIGTERM]
        child.exit(-signal.SIGTERM)
        world.turn()
    exc = callbacks.told[-1][1].exception
    assert (type(exc), exc.args) == (Terminated, (signal.SIGTERM,))


def test_celery_s_two_calls_send_one_signal_and_a_second_wish_another() -> None:
    with World(children=1) as world:
        handle = make_handle(engine=world.engine)
        world.engine.submit(handle)
        child = world.child(0)
        for _ in range(2):
            world.engine.terminate_on(child.pid, signal.SIGTERM)
            handle.terminate(signal.SIGTERM)
        assert child.signals == [signal.SIGTERM] * 2
        handle.terminate(signal.SIGKILL)
        assert not child.alive


# ── figures ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (lambda handle: handle.succeeded((0, "3", 0.1)), "completed"),
        (lambda handle: handle.succeeded((1, astuple(FAILURE), 0.1)), "failed"),
        (lambda handle: handle.failed(FAILURE), "failed"),
        (lambda handle: handle.lost(LOSS), "lost"),
        (lambda handle: handle.hard_limit_reached(1.0), "timed_out"),
    ],
    ids=["success", "error", "failure outside of the tracer", "loss", "hard limit"],
)
def test_each_end_is_counted_once(ending: Any, outcome: str) -> None:
    ledger = Ledger()
    headers = {"delivery_info": {}}
    handle = make_handle(
        target=fast_trace_task, args=("n", "i", headers, BODY, "j", "u"), ledger=ledger
    )
    handle.started(1, 0.0)
    ending(handle)
    counts = ledger.snapshot(0.0)["tasks"]["n"]
    assert counts["outcomes"] == {outcome: 1}


def test_a_task_is_shown_and_counted_under_its_shadow() -> None:
    """All tasks of the facade are one Celery task: the type is what tells them apart."""
    ledger = Ledger()
    headers = {"delivery_info": {}, "shadow": "COMPRESSION"}
    handle = make_handle(
        target=fast_trace_task, args=("n", "i", headers, BODY, "j", "u"), ledger=ledger
    )
    assert str(handle) == "COMPRESSION[i]"
    handle.started(1, 0.0)
    handle.succeeded((0, "3", 0.1))
    assert list(ledger.snapshot(0.0)["tasks"]) == ["COMPRESSION"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ((0, "3", 0.1), (EndKind.DONE, "")),
        ((1, astuple(FAILURE), 0.1), (EndKind.FAILED, "OutOfStock('tea')")),
        ((1, astuple(replace(FAILURE, control="retry")), 0.1), None),
        ((1, astuple(replace(FAILURE, control="ignore")), 0.1), None),
        ((1, astuple(replace(FAILURE, control="reject", detail=True)), 0.1), None),
    ],
    ids=["done", "failed", "to be retried", "replaced", "given back"],
)
@pytest.mark.parametrize(
    ("headers", "ignores", "urgent", "ignored"),
    [
        ({}, False, False, False),
        ({"dependencies": ["a"]}, True, True, True),
        ({"ignore_result": True}, False, False, True),
    ],
    ids=["plain", "in a graph", "ignored by its caller"],
)
def test_the_gate_hears_of_final_ends_only(
    value: Any,
    told: tuple[EndKind, str] | None,
    headers: dict[str, Any],
    ignores: bool,
    urgent: bool,
    ignored: bool,
) -> None:
    gate = OpenGate()
    request = FakeRequest(task=SimpleNamespace(ignore_result=ignores))
    args = ("shop.add", "task-1", headers, BODY)
    for_request(request, target=fast_trace_task, args=args, gate=gate).succeeded(value)
    assert gate.ends == ([("task-1", *told, urgent, ignored)] if told else [])
