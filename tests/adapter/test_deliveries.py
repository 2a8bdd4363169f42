"""A delivery that is taken apart in one go is what py-amqp makes of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from amqp.abstract_channel import AbstractChannel
from amqp.basic_message import Message
from amqp.channel import Channel
from amqp.connection import Connection
from amqp.method_framing import frame_handler
from amqp.serialization import dumps
from amqp.spec import Basic
from amqp.transport import TCPTransport
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.adapter import deliveries

TEXT = st.text(max_size=20)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1)
VALUES = st.recursive(
    st.none() | TEXT | st.booleans() | NUMBERS | st.floats(allow_nan=False) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXT,
        "content_encoding": st.sampled_from(["utf-8", "binary", "latin-1", "no such"]),
        "application_headers": st.dictionaries(TEXT, VALUES, max_size=8),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": TEXT,
        "reply_to": TEXT,
        "message_id": TEXT,
        "expiration": TEXT,
        "timestamp": st.integers(0, 2**40),
    },
)
DELIVERIES = st.tuples(TEXT, st.integers(0, 2**64 - 1), st.booleans(), TEXT, TEXT)
#: What a Celery message looks like.
CELERY = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "application_headers": {
        "lang": "py",
        "task": "proj.tasks.add",
        "id": "8d8ecd0f-6b26-4d2e-a31e-9d6a0be4e1a5",
        "eta": None,
        "retries": 0,
        "timelimit": [None, 2.5],
        "ignore_result": True,
        "stamps": {},
        "stamped_headers": ["é"],
    },
    "delivery_mode": 2,
    "priority": 5,
    "correlation_id": "8d8ecd0f-6b26-4d2e-a31e-9d6a0be4e1a5",
    "reply_to": "c",
}


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def delivery(properties: dict[str, Any], body: bytes, *arguments: Any, parts: int = 1) -> bytes:
    """As the broker sends it."""
    method = struct.pack(">HH", *Basic.Deliver) + dumps("sLbss", arguments)
    header = struct.pack(">HHQ", Basic.CLASS_ID, 0, len(body))
    header += Message(**properties)._serialize_properties()
    size = -(-len(body) // parts) or 1
    bodies = [frame(3, body[at : at + size]) for at in range(0, len(body), size)]
    return frame(1, method) + frame(2, header) + b"".join(bodies)


class Receiver:
    """A py-amqp connection with one channel, which notes what it is told of."""

    def __init__(self) -> None:
        self.transport = TCPTransport("nowhere:1")
        self.transport._quick_recv = lambda _: b""
        self.connection = Connection()
        self.connection._transport = self.transport
        self.connection.channels = {}
        self.connection.on_inbound_frame = frame_handler(
            self.connection, self.connection.on_inbound_method
        )
        self.channel = Channel.__new__(Channel)
        AbstractChannel.__init__(self.channel, self.connection, 1)
        self.channel.auto_decode = True
        self.told: list[Any] = []
        self.channel._callbacks[Basic.Deliver] = self._on_deliver

    def _on_deliver(self, *arguments: Any) -> None:
        *rest, message = arguments
        self.told.append((rest, vars_of(message), self.transport._read_buffer))

    def by_py_amqp(self, data: bytes) -> list[Any]:
        self.transport._read_buffer = data
        while self.transport._read_buffer:
            self.connection.on_inbound_frame(self.transport.read_frame())
        return self.told

    def in_one_go(self, data: bytes) -> bool:
        self.transport._read_buffer = data
        return deliveries.take(self.connection, self.transport)


def vars_of(message: Message) -> dict[str, Any]:
    names = ("properties", "body", "body_size", "body_received", "ready", "headers")
    return {name: getattr(message, name) for name in names}


@given(PROPERTIES, st.binary(max_size=50), DELIVERIES)
def test_it_is_what_py_amqp_makes_of_it(
    properties: dict[str, Any], body: bytes, arguments: tuple[Any, ...]
) -> None:
    data = delivery(properties, body, *arguments)
    theirs, ours = Receiver(), Receiver()
    expected = theirs.by_py_amqp(data)
    if ours.in_one_go(data):
        assert ours.told == expected
        assert ours.connection.bytes_recv == theirs.connection.bytes_recv
    else:
        assert ours.told == []
        assert ours.transport._read_buffer == data


@pytest.mark.parametrize("body", [b'[[], {}, {"chain": null}]', b"", b"\xff\x00"])
def test_messages_of_celery_are_taken(body: bytes) -> None:
    data = delivery(CELERY, body, "None1", 7, False, "", "celery")
    receiver = Receiver()
    assert receiver.in_one_go(data)
    assert receiver.told == Receiver().by_py_amqp(data)


def test_who_is_told_may_read_on() -> None:
    receiver = Receiver()
    assert receiver.in_one_go(delivery(CELERY, b"body", "a", 1, False, "", "b") + b"more")
    assert [rest for _, _, rest in receiver.told] == [b"more"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + b"\x00",
        lambda data: data[:40],
        lambda data: frame(8, b"", 0) + data,
        lambda data: frame(1, struct.pack(">HH", *Basic.Cancel) + dumps("sb", ("None1", True))) * 9,
        lambda data: data.replace(b"\x00\x01", b"\x00\x02"),  # another channel
    ],
)
def test_all_else_is_left_to_py_amqp(change: Callable[[bytes], bytes]) -> None:
    data = change(delivery(CELERY, b"body", "None1", 7, False, "", "celery"))
    receiver = Receiver()
    assert not receiver.in_one_go(data)
    assert receiver.told == []
    assert receiver.transport._read_buffer == data


def test_a_body_in_parts_is_left_to_py_amqp() -> None:
    assert not Receiver().in_one_go(delivery(CELERY, b"body", "a", 1, False, "", "b", parts=2))


@pytest.mark.parametrize("state", ["closing", "gone", "waited for"])
def test_a_channel_in_another_state_is_left_to_py_amqp(state: str) -> None:
    receiver = Receiver()
    if state == "closing":
        receiver.channel.is_closing = True
    elif state == "gone":
        receiver.connection.channels.clear()
    else:
        receiver.channel._pending[Basic.Deliver] = print
    assert not receiver.in_one_go(delivery(CELERY, b"body", "a", 1, False, "", "b"))
