"""Messages that Celery cannot take apart fail alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError

from celery_workerpool.adapter.guard import Guard, GuardedStrategies, check_body, check_headers
from celery_workerpool.errors import InvalidTaskError
from celery_workerpool.gate.records import EndKind

BODY = ([], {}, {})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"timelimit": None, "stamped_headers": None},
        {"timelimit": [None, None]},
        {"timelimit": (10, 5.5)},
        {"timelimit": [0, None]},
        {"stamped_headers": []},
        {"stamped_headers": ["tenant"]},
        {"stamped_headers": ("tenant",)},
    ],
    ids=str,
)
def test_sound_headers_pass(headers: dict[str, Any]) -> None:
    check_headers({"id": "task-1", **headers})


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("id", None, "the task's id, a text"),
        ("id", "", "the task's id, a text"),
        ("id", 5, "the task's id, a text"),
        ("id", ["x"], "the task's id, a text"),
        ("timelimit", 10, "[hard, soft] in seconds"),
        ("timelimit", "10", "[hard, soft] in seconds"),
        ("timelimit", [10], "[hard, soft] in seconds"),
        ("timelimit", [1, 2, 3], "[hard, soft] in seconds"),
        ("timelimit", ["10", None], "[hard, soft] in seconds"),
        ("timelimit", [-1, None], "[hard, soft] in seconds"),
        ("timelimit", [True, None], "[hard, soft] in seconds"),
        ("timelimit", [float("nan"), None], "[hard, soft] in seconds"),
        ("timelimit", {"hard": 1}, "[hard, soft] in seconds"),
        ("stamped_headers", "tenant", "a list of header names"),
        ("stamped_headers", 5, "a list of header names"),
        ("stamped_headers", {"tenant": 1}, "a list of header names"),
    ],
    ids=str,
)
def test_malformed_headers_are_refused(header: str, value: object, expected: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        check_headers({"id": "task-1", header: value})
    assert str(caught.value).startswith(f"{header} = {value!r}: expected {expected}")


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        [[1, "x"], {"a": 1}, {"chord": None, "callbacks": None}],
        [(), {}, {"callbacks": [], "errbacks": (), "chain": [{}], "chord": {"task": "cb"}}],
        {"args": [], "kwargs": {}},
    ],
    ids=str,
)
def test_sound_bodies_pass(body: object) -> None:
    check_body(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "body = 'NoneType': expected [args, kwargs, options]"),
        ("text", "body = 'str': expected [args, kwargs, options]"),
        ([], "body = 'list': expected [args, kwargs, options]"),
        ([[], {}], "body = 'list': expected [args, kwargs, options]"),
        ({}, "body = 'dict': expected [args, kwargs, options]"),
        (["xy", {}, {}], "args = 'str': expected a list"),
        ([[], [], {}], "kwargs = 'list': expected a dictionary"),
        ([[], {}, None], "options = 'NoneType': expected a dictionary"),
        ([[], {}, {"callbacks": "cb"}], "callbacks = 'str': expected a list of signatures"),
        ([[], {}, {"errbacks": {}}], "errbacks = 'dict': expected a list of signatures"),
        ([[], {}, {"chain": 1}], "chain = 'int': expected a list of signatures"),
        ([[], {}, {"chord": []}], "chord = 'list': expected a signature"),
    ],
    ids=str,
)
def test_malformed_bodies_are_refused(body: object, message: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        check_body(body)
    assert str(caught.value) == message


class FakeMessage:
    """A message that is read and rejected, and cannot be decoded if the payload is an error."""

    def __init__(self, headers: dict[str, Any] | None, payload: Any = BODY) -> None:
        self.headers = headers
        self.acknowledged = False
        self.rejected = 0
        self._payload = payload

    @property
    def payload(self) -> Any:
        if isinstance(self._payload, Exception):
            raise self._payload
        return self._payload

    def reject_log_error(self, logger: object, errors: object) -> None:
        self.rejected += 1


class FakeGate:
    """A gate that admits what has the header ``dependencies``, and remembers what has ended."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.ends: list[tuple[str, EndKind]] = []

    def concerns(self, headers: dict[str, Any]) -> bool:
        return "dependencies" in headers

    def admit(self, message: Any, run: Any) -> None:
        self.waiting.append(run)

    def ended(self, task_id: str, kind: EndKind, error: str) -> None:
        self.ends.append((task_id, kind))


class FakeConsumer:
    """A consumer that records failures that are stored and events that are sent."""

    def __init__(self, backend_error: Exception | None = None) -> None:
        self.stored: list[tuple[str, Exception, Any]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.unknown: list[tuple[Any, Any, KeyError]] = []
        self.connection_errors = (ConnectionError,)
        self._error = backend_error
        self.app = SimpleNamespace(backend=SimpleNamespace(mark_as_failure=self._store))
        self.gate = FakeGate()
        self.pool = SimpleNamespace(gate=self.gate)
        self.event_dispatcher = SimpleNamespace(send=lambda kind, **f: self.sent.append((kind, f)))

    def on_unknown_task(self, body: Any, message: Any, exc: KeyError) -> None:
        self.unknown.append((body, message, exc))

    def _store(self, task_id: str, exc: Exception, request: Any) -> None:
        if self._error is not None:
            raise self._error
        self.stored.append((task_id, exc, request))


def raising(exc: Exception) -> Any:
    def strategy(*args: object) -> None:
        raise exc

    return strategy


def test_a_good_message_goes_to_its_strategy_with_all_arguments() -> None:
    guard = Guard(FakeConsumer(), lambda *args: args)
    message = FakeMessage({"id": "t"})
    assert guard(message, None, 1, "two") == (message, None, 1, "two")
    assert message.rejected == 0


@pytest.mark.parametrize(
    "exc",
    [
        *(ValueError("x"), TypeError("x"), KeyError("x"), IndexError("x"), AttributeError("x")),
        *(DecodeError("x"), ContentDisallowed("x"), LookupError("x")),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_a_message_that_breaks_the_strategy_fails_alone(
    exc: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": "task-1", "task": "shop.add"}, ([], {}, {"chord": {"task": "cb"}}))
    Guard(consumer, raising(exc))(message, None)
    ((task_id, stored, request),) = consumer.stored
    assert (task_id, stored, request.chord) == ("task-1", exc, {"task": "cb"})
    assert consumer.sent == [("task-failed", {"uuid": "task-1", "exception": repr(exc)})]
    assert message.rejected == 1
    assert consumer.gate.ends == [("task-1", EndKind.FAILED)]
    assert "Task shop.add[task-1] has a malformed message and fails" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        FakeMessage({"id": "task-1", "timelimit": "soon"}),
        FakeMessage({"id": "task-1"}, ["only args"]),
        FakeMessage({"id": "task-1"}, DecodeError("no JSON")),
    ],
    ids=["headers", "body", "no JSON"],
)
def test_what_is_malformed_does_not_reach_the_strategy(message: FakeMessage) -> None:
    consumer = FakeConsumer()
    Guard(consumer, raising(AssertionError("not reached")))(message, None)
    assert isinstance(consumer.stored[0][1], InvalidTaskError | DecodeError)
    assert consumer.stored[0][2].chord is None
    assert message.rejected == 1


def test_a_message_of_protocol_1_has_everything_in_its_body() -> None:
    message = FakeMessage({}, {"id": "task-1", "task": "shop.add", "args": []})
    assert Guard(FakeConsumer(), lambda *args: "handled")(message, message.payload) == "handled"


@pytest.mark.parametrize("headers", [None, {}, {"id": None}, {"id": ""}, {"id": 5}], ids=str)
def test_a_message_without_an_id_is_just_taken_off_the_queue(headers: Any) -> None:
    consumer = FakeConsumer()
    message = FakeMessage(headers)
    Guard(consumer, raising(ValueError("x")))(message, None)
    assert (consumer.stored, consumer.sent, message.rejected) == ([], [], 1)


def test_a_message_that_is_settled_is_not_settled_again() -> None:
    message = FakeMessage({"id": "task-1"})
    message.acknowledged = True
    Guard(FakeConsumer(), raising(ValueError("x")))(message, None)
    assert message.rejected == 0


def test_a_result_store_that_is_down_does_not_keep_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = FakeMessage({"id": "task-1"})
    Guard(FakeConsumer(ConnectionError("down")), raising(ValueError("x")))(message, None)
    assert message.rejected == 1
    assert "Could not store the failure of task task-1" in caplog.text


def test_what_waits_for_others_is_let_in_by_the_gate() -> None:
    consumer = FakeConsumer()
    seen: list[Any] = []
    message = FakeMessage({"id": "task-1", "dependencies": ["a"]})
    Guard(consumer, lambda *args: seen.append(args))(message, None, 1, "two")
    assert seen == []
    (let_in,) = consumer.gate.waiting
    let_in()
    assert seen == [(message, None, 1, "two")]


def test_what_breaks_when_it_is_let_in_fails_alone() -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": "task-1", "dependencies": ["a"]})
    Guard(consumer, raising(ValueError("x")))(message, None)
    consumer.gate.waiting[0]()
    assert consumer.gate.ends == [("task-1", EndKind.FAILED)]
    assert message.rejected == 1


@pytest.mark.parametrize("exc", [ConnectionError("lost"), OSError("x"), RuntimeError("x")])
def test_what_has_a_meaning_for_the_worker_passes(exc: Exception) -> None:
    message = FakeMessage({"id": "task-1"})
    with pytest.raises(type(exc)):
        Guard(FakeConsumer(), raising(exc))(message, None)
    assert message.rejected == 0


def test_every_strategy_that_celery_sets_is_guarded() -> None:
    strategies = GuardedStrategies(FakeConsumer())
    strategies["shop.add"] = lambda message, body: "handled"
    assert isinstance(strategies["shop.add"], Guard)
    assert strategies["shop.add"](FakeMessage({"id": "task-1"}), None) == "handled"


@pytest.mark.parametrize("name", ["shop.gone", None, 5, ["a", "list"]], ids=str)
def test_an_unknown_task_is_reported_as_celery_does(name: object) -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": "task-1", "task": name})
    GuardedStrategies(consumer)[name](message, None)
    ((_, reported, exc),) = consumer.unknown
    assert consumer.gate.ends == [("task-1", EndKind.FAILED)]
    assert (reported, exc.args) == (message, (name,))
