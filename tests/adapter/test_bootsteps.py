"""Messages that Celery cannot take apart fail alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_workerpool.adapter.bootsteps import Guard, GuardedStrategies, check_headers
from celery_workerpool.errors import InvalidTaskError


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
    check_headers(headers)


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
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
        check_headers({header: value})
    assert str(caught.value).startswith(f"{header} = {value!r}: expected {expected}")


class FakeMessage:
    def __init__(self, headers: dict[str, Any], payload: Any = None) -> None:
        self.headers = headers
        self._payload = payload
        self.rejected = 0

    @property
    def payload(self) -> Any:
        if isinstance(self._payload, Exception):
            raise self._payload
        return self._payload

    def reject_log_error(self, logger: object, errors: object) -> None:
        self.rejected += 1


class FakeConsumer:
    """A consumer that records failures that are stored and events that are sent."""

    def __init__(self, backend_error: Exception | None = None) -> None:
        self.stored: list[tuple[str, Exception, Any]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.connection_errors = (ConnectionError,)
        self._error = backend_error
        self.app = SimpleNamespace(backend=SimpleNamespace(mark_as_failure=self._store))
        self.event_dispatcher = SimpleNamespace(send=lambda kind, **f: self.sent.append((kind, f)))

    def _store(self, task_id: str, exc: Exception, request: Any) -> None:
        if self._error is not None:
            raise self._error
        self.stored.append((task_id, exc, request))


def raising(exc: Exception) -> Any:
    def strategy(*args: object, **kwargs: object) -> None:
        raise exc

    return strategy


def test_a_good_message_goes_to_its_strategy_with_all_arguments() -> None:
    guard = Guard(FakeConsumer(), lambda *args, **kwargs: (args, kwargs))
    message = FakeMessage({"id": "t"})
    assert guard(message, 1, two=2) == ((message, 1), {"two": 2})
    assert message.rejected == 0


@pytest.mark.parametrize(
    "exc", [ValueError("x"), TypeError("x"), KeyError("x"), IndexError("x"), AttributeError("x")]
)
def test_a_message_that_breaks_the_strategy_fails_alone(
    exc: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": "task-1", "task": "shop.add"}, ([], {}, {"chord": {"task": "cb"}}))
    Guard(consumer, raising(exc))(message)
    ((task_id, stored, request),) = consumer.stored
    assert (task_id, stored, request.chord) == ("task-1", exc, {"task": "cb"})
    assert consumer.sent == [("task-failed", {"uuid": "task-1", "exception": repr(exc)})]
    assert message.rejected == 1
    assert "Task shop.add[task-1] has a malformed message and fails" in caplog.text


def test_malformed_headers_do_not_reach_the_strategy() -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": "task-1", "timelimit": "soon"})
    Guard(consumer, raising(AssertionError("not reached")))(message)
    assert isinstance(consumer.stored[0][1], InvalidTaskError)
    assert message.rejected == 1


@pytest.mark.parametrize("task_id", [None, "", 5, ["x"]])
def test_a_message_without_an_id_is_just_taken_off_the_queue(task_id: object) -> None:
    consumer = FakeConsumer()
    message = FakeMessage({"id": task_id})
    Guard(consumer, raising(ValueError("x")))(message)
    assert (consumer.stored, consumer.sent, message.rejected) == ([], [], 1)


@pytest.mark.parametrize("payload", [ValueError("no JSON"), None, [], ([], {}, None)], ids=str)
def test_a_body_that_says_nothing_has_no_chord(payload: object) -> None:
    consumer = FakeConsumer()
    Guard(consumer, raising(ValueError("x")))(FakeMessage({"id": "task-1"}, payload))
    assert consumer.stored[0][2].chord is None


def test_a_result_store_that_is_down_does_not_keep_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    consumer = FakeConsumer(ConnectionError("down"))
    message = FakeMessage({"id": "task-1"})
    Guard(consumer, raising(ValueError("x")))(message)
    assert message.rejected == 1
    assert "Could not store the failure of task task-1" in caplog.text


@pytest.mark.parametrize("exc", [ConnectionError("lost"), OSError("x"), RuntimeError("x")])
def test_what_has_a_meaning_for_the_worker_passes(exc: Exception) -> None:
    message = FakeMessage({"id": "task-1"})
    with pytest.raises(type(exc)):
        Guard(FakeConsumer(), raising(exc))(message)
    assert message.rejected == 0


def test_every_strategy_that_celery_sets_is_guarded() -> None:
    strategies = GuardedStrategies(FakeConsumer())
    strategies["shop.add"] = lambda message: "handled"
    assert isinstance(strategies["shop.add"], Guard)
    assert strategies["shop.add"](FakeMessage({})) == "handled"
