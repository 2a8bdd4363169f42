"""Takes a delivery of RabbitMQ's apart in one go, which py-amqp does frame by frame.

A delivery is three frames: the method with its arguments, the header with the message's
properties, the body. Where all three are there, and hold nothing but what Celery's messages
hold, what comes out is what py-amqp makes of them. All else is left to py-amqp.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from amqp.basic_message import Message
from amqp.spec import Basic

#: Type, channel and size of a frame; its payload and an end mark follow.
FRAME = struct.Struct(">BHI")
FRAME_END = 0xCE
_METHOD, _HEADER, _BODY = 1, 2, 3
#: The beginning of a method's frame: as above, class and number of the method.
_BEGIN = struct.Struct(">BHIHH")
#: The beginning of a header's payload: class, weight, size of the body, which properties follow.
_CONTENT = struct.Struct(">HHQH")
_TAG = struct.Struct(">QB")
_LONG = struct.Struct(">i")
_FLOAT = struct.Struct(">d")
_SIZE = struct.Struct(">I")
#: No delivery is shorter.
_SHORTEST = _BEGIN.size + 1 + _TAG.size + 2 + 1 + FRAME.size + _CONTENT.size + 1

#: Properties by their bit: short strings before the headers, numbers, short strings after them.
_FIRST = ((0x8000, "content_type"), (0x4000, "content_encoding"))
_HEADERS = 0x2000
_NUMBERS = ((0x1000, "delivery_mode"), (0x0800, "priority"))
_LAST = ((0x0400, "correlation_id"), (0x0200, "reply_to"))
_KNOWN = sum(bit for bit, _ in _FIRST + _NUMBERS + _LAST) + _HEADERS

#: Kinds of values in tables and arrays.
_STRING, _VOID, _INTEGER, _BOOLEAN, _DOUBLE, _ARRAY, _TABLE = b"SVItdAF"


class _LeftToPyAmqp(Exception):
    """Something that is not read here."""


def take(connection: Any, transport: Any) -> bool:
    """Hand over the delivery that the buffer begins with.

    Returns:
        False where py-amqp must read on, and nothing has happened.
    """
    data: bytes = transport._read_buffer
    if len(data) < _SHORTEST:
        return False
    kind, number, size, *method = _BEGIN.unpack_from(data)
    if kind != _METHOD or tuple(method) != Basic.Deliver:
        return False
    channel = connection.channels.get(number)
    listener = _listener(channel)
    if listener is None:
        return False
    try:
        arguments = _arguments(data, _BEGIN.size, FRAME.size + size)
        message, end, frames = _content(data, FRAME.size + size + 1, number)
    except (IndexError, struct.error, UnicodeDecodeError, _LeftToPyAmqp):
        return False
    if channel.auto_decode:
        _decode(message)
    transport._read_buffer = data[end:]  # First: the listener may read on.
    connection.bytes_recv += frames  # The heartbeat wants to know whether anything was.
    listener(*arguments, message)
    return True


def _listener(channel: Any) -> Any:
    """Whom py-amqp would call; None where it would do anything else as well."""
    if channel is None or channel.is_closing:
        return None
    return None if Basic.Deliver in channel._pending else channel._callbacks.get(Basic.Deliver)


def _decode(message: Message) -> None:
    """Make text of the body, where that is possible; a broken one is its reader's error."""
    encoding = message.properties.get("content_encoding")
    with contextlib.suppress(Exception):
        message.body = message.body.decode(encoding)


def _arguments(data: bytes, at: int, end: int) -> tuple[str, int, bool, str, str]:
    consumer, at = _short_string(data, at)
    tag, redelivered = _TAG.unpack_from(data, at)
    exchange, at = _short_string(data, at + _TAG.size)
    routing_key, at = _short_string(data, at)
    _expect(at == end and data[end] == FRAME_END)
    return consumer, tag, bool(redelivered & 1), exchange, routing_key


def _content(data: bytes, at: int, number: int) -> tuple[Message, int, int]:
    """The message of the header at that place, where its last frame ends, and how many it has."""
    kind, channel, size = FRAME.unpack_from(data, at)
    begin, end = at + FRAME.size, at + FRAME.size + size
    class_id, _, length, flags = _CONTENT.unpack_from(data, begin)
    _expect((kind, channel, class_id) == (_HEADER, number, Basic.CLASS_ID))
    message = Message()
    message.properties, at = _properties(data, begin + _CONTENT.size, flags)
    _expect(at == end and data[end] == FRAME_END)
    message.body_size, message.ready = length, True
    if not length:
        return message, end + 1, 2
    begin, end = end + 1 + FRAME.size, end + 1 + FRAME.size + length
    _expect(FRAME.unpack_from(data, begin - FRAME.size) == (_BODY, number, length))
    _expect(data[end] == FRAME_END)
    message.body, message.body_received = data[begin:end], length
    return message, end + 1, 3


def _properties(data: bytes, at: int, flags: int) -> tuple[dict[str, Any], int]:
    _expect(not flags & ~_KNOWN)
    found: dict[str, Any] = {}
    for bit, name in _FIRST:
        if flags & bit:
            found[name], at = _short_string(data, at)
    if flags & _HEADERS:
        found["application_headers"], at = _table(data, at)
    for bit, name in _NUMBERS:
        if flags & bit:
            found[name] = data[at]
            at += 1
    for bit, name in _LAST:
        if flags & bit:
            found[name], at = _short_string(data, at)
    return found, at


def _table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    (size,) = _SIZE.unpack_from(data, at)
    at += 4
    end = at + size
    found: dict[str, Any] = {}
    while at < end:
        begin = at + 1
        at = begin + data[at]
        key = data[begin:at].decode()
        kind = data[at]
        at += 1
        if kind == _VOID:  # The kinds that most headers have are read here, which is faster.
            found[key] = None
        elif kind == _STRING:
            (size,) = _SIZE.unpack_from(data, at)
            begin = at + 4
            at = begin + size
            found[key] = data[begin:at].decode()
        else:
            found[key], at = _item(kind, data, at)
    _expect(at == end)
    return found, at


def _item(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind == _VOID:
        return None, at
    if kind == _INTEGER:
        return _LONG.unpack_from(data, at)[0], at + 4
    if kind == _BOOLEAN:
        return bool(data[at]), at + 1
    if kind == _DOUBLE:
        return _FLOAT.unpack_from(data, at)[0], at + 8
    if kind == _ARRAY:
        return _array(data, at)
    if kind == _TABLE:
        return _table(data, at)
    if kind == _STRING:
        begin, at = at + 4, at + 4 + _SIZE.unpack_from(data, at)[0]
        return data[begin:at].decode(), at
    raise _LeftToPyAmqp


def _array(data: bytes, at: int) -> tuple[list[Any], int]:
    end = at + 4 + _SIZE.unpack_from(data, at)[0]
    at += 4
    found = []
    while at < end:
        value, at = _item(data[at], data, at + 1)
        found.append(value)
    _expect(at == end)
    return found, at


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end


def _expect(condition: bool) -> None:
    if not condition:
        raise _LeftToPyAmqp
