"""What goes over the socket, and what the pool refuses to take from it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.process.channel import FrameReader
from celery_workerpool.process.messages import (
    DONE,
    FAILED,
    HEADER,
    PROGRESS,
    READY,
    Boot,
    Done,
    Failed,
    Progress,
    Ready,
    Reply,
    Request,
    Run,
    Stop,
    decode_reply,
    decode_request,
    encode,
)
from celery_workerpool.types import RemoteFailure

FAILURE = RemoteFailure(
    "shop", "OutOfStock", ("tea", 3), "OutOfStock('tea', 3)", "Traceback…", True, "retry", "x"
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=10,
)


def over_the_wire(message: Request | Reply) -> tuple[int, int, bytes]:
    (frame,) = FrameReader().feed(encode(message))
    return frame


@pytest.mark.parametrize(
    "request_",
    [Boot(b"payload"), Run(2**40, os.getpid, (1, "two")), Run(1, over_the_wire, ()), Stop()],
    ids=lambda request: type(request).__name__,
)
def test_requests_arrive_as_they_were_sent(request_: Request) -> None:
    assert decode_request(*over_the_wire(request_)) == request_


@pytest.mark.parametrize(
    "reply",
    [
        Ready(4711, 2**33),
        Done(7, {"answer": [42]}, 1024, True),
        Failed(8, FAILURE, None, False),
        Progress(9, 12.5, "half of a quarter"),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_replies_arrive_as_they_were_sent(reply: Reply) -> None:
    assert decode_reply(*over_the_wire(reply)) == reply


@given(PLAIN)
@settings(max_examples=60, deadline=None)
def test_any_plain_value_passes(value: object) -> None:
    assert decode_reply(*over_the_wire(Done(1, value))) == Done(1, value)


class Evil:
    """Runs a command wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"k": (x,)}])
def test_an_object_never_runs_code_in_the_pool(wrap, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    reply = decode_reply(*over_the_wire(Done(5, wrap(Evil(trap)))))
    assert not trap.exists()
    assert isinstance(reply, Failed)
    assert (reply.job, reply.failure.name) == (5, "ResultNotPlain")
    assert "mkdir" in reply.failure.repr
    pickle.loads(pickle.dumps(Evil(trap)))
    assert trap.exists(), "the trap works"


@pytest.mark.parametrize("value", [object(), ValueError("x"), Path(), complex(1, 2), print])
def test_objects_fail_their_task_and_name_what_was_not_plain(value: object) -> None:
    reply = decode_reply(*over_the_wire(Done(5, value)))
    assert isinstance(reply, Failed)
    assert "not plain data (numbers, strings, bytes, lists, dicts)" in reply.failure.traceback


@pytest.mark.parametrize("tag", [DONE, FAILED, PROGRESS, READY, 0, 99])
@pytest.mark.parametrize(
    "payload",
    [b"", b"nonsense", pickle.dumps(1), pickle.dumps((1,) * 30), encode(Stop())],
    ids=["empty", "no pickle", "no tuple", "too long", "another frame"],
)
def test_a_broken_reply_hurts_its_task_alone(tag: int, payload: bytes) -> None:
    assert isinstance(decode_reply(tag, 5, payload), Failed)


@given(st.integers(0, 255), st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_the_pool_raise(tag: int, payload: bytes) -> None:
    decode_reply(tag, 5, payload)


def test_what_cannot_be_pickled_raises_where_it_is_sent() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        encode(Run(1, lambda: None, ()))


def test_the_header_has_room() -> None:
    assert HEADER.size == 17
    assert HEADER.unpack(HEADER.pack(1, 2**63, 2**40)) == (1, 2**63, 2**40)
