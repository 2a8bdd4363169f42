"""What a child makes of values and exceptions: plain data, whatever they are."""

from __future__ import annotations

import pickle
import sys
from dataclasses import astuple

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.app import trace
from celery.exceptions import Ignore, Reject, Retry

from celery_workerpool.adapter.runtime import CeleryRuntime, LaterTracer, _tracers_when_needed
from celery_workerpool.process.channel import FrameReader
from celery_workerpool.process.messages import Done, Failed, decode_reply, encode
from celery_workerpool.types import RemoteFailure

RUNTIME = CeleryRuntime(None, "w@host", report_memory=False)


class Shouting(str):
    """A text of a task's own kind."""

    __slots__ = ()


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Picky(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def described(exc: BaseException) -> RemoteFailure:
    try:
        raise exc
    except BaseException as caught:
        return RUNTIME.describe(caught)


def assert_plain(failure: RemoteFailure) -> None:
    (frame,) = FrameReader().feed(encode(Failed(1, failure)))
    assert decode_reply(*frame) == Failed(1, failure)


def test_an_exception_becomes_its_names_arguments_and_text() -> None:
    failure = described(ValueError("x", 1, None, 2.5, b"y", True))
    assert (failure.module, failure.name) == ("builtins", "ValueError")
    assert failure.args == ("x", 1, None, 2.5, b"y", True)
    assert failure.repr == "ValueError('x', 1, None, 2.5, b'y', True)"
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.control == ""
    assert_plain(failure)


@pytest.mark.parametrize(
    "argument",
    [[1, 2], {"a": 1}, object(), Shouting("HEY"), Unprintable(), ValueError("inner"), 1j, print],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_that_is_not_plain_becomes_its_text(argument: object) -> None:
    failure = described(ValueError(argument))
    assert type(failure.args[0]) is str
    assert_plain(failure)


def test_an_exception_that_pickle_could_not_make_again() -> None:
    failure = described(Picky(1, 2))
    assert (failure.name, failure.args) == ("Picky", ("1 and 2",))
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(Picky(1, 2)))


def test_a_chain_is_in_the_traceback() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ValueError("second") from exc
    except ValueError as exc:
        text = RUNTIME.describe(exc).traceback
    assert "KeyError: 'first'" in text
    assert "direct cause" in text


@pytest.mark.parametrize(
    ("exc", "control", "detail"),
    [
        (Retry("later", exc=KeyError("k")), "retry", "KeyError('k')"),
        (Reject("why", requeue=True), "reject", True),
        (Reject("why"), "reject", False),
        (Ignore(), "ignore", None),
        (SystemExit(3), "exit", 3),
        (SystemExit(), "exit", None),
        (SystemExit(["not", "plain"]), "exit", "['not', 'plain']"),
        (KeyboardInterrupt(), "interrupt", None),
        (ValueError("x"), "", None),
        (MemoryError(), "", None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_control_exceptions_carry_what_the_worker_needs(
    exc: BaseException, control: str, detail: object
) -> None:
    failure = described(exc)
    assert (failure.control, failure.detail) == (control, detail)
    assert_plain(failure)


def test_what_the_tracer_returns_passes_as_it_is() -> None:
    value = (0, "'result'", 0.25)
    assert RUNTIME.plain(value) is value
    assert RUNTIME.plain("anything") == "anything"


def test_a_failure_that_the_tracer_returns_becomes_plain() -> None:
    try:
        raise LookupError("gone")
    except LookupError:
        info = ExceptionInfo(sys.exc_info(), internal=True)
    failed, fields, seconds = RUNTIME.plain((1, info, 0.5))
    assert (failed, seconds) == (1, 0.5)
    failure = RemoteFailure(*fields)
    assert (failure.name, failure.args, failure.internal) == ("LookupError", ("gone",), True)
    assert "LookupError: gone" in failure.traceback
    (frame,) = FrameReader().feed(encode(Done(1, (1, fields, 0.5))))
    assert decode_reply(*frame) == Done(1, (1, astuple(failure), 0.5))


def test_a_tracer_is_built_in_the_child_when_its_task_runs_for_the_first_time() -> None:
    app = Celery("shop", backend="cache+memory://", set_as_current=False)
    add = app.task(name="shop.add", shared=False)(plus)
    build = trace.build_tracer
    with _tracers_when_needed():
        add.__trace__ = trace.build_tracer(add.name, add, app.loader, "w@host", app=app)
    assert trace.build_tracer is build
    later = add.__trace__
    assert isinstance(later, LaterTracer)
    for _ in range(2):
        value, failed, _, _ = add.__trace__("task-1", (1, 2), {}, {"id": "task-1"})
        assert (value, failed) == (3, None)
        assert not isinstance(add.__trace__, LaterTracer), "Celery's own from now on"


def plus(a: int, b: int) -> int:
    return a + b
