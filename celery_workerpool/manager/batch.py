"""Many messages at once.

Celery makes the first message of each kind, and all that it knows of routes, priorities and time
limits goes into that one. The others are copies of it with another id and another payload. That
leaves out nothing that anybody would notice, but it is done only where nobody looks at each
message: with receivers of Celery's publishing signals, ``task-sent`` events or routes that are
functions, every message is sent by Celery.

On RabbitMQ the copies are written to the socket in large pieces, on a channel of their own that
is closed in the end: the broker's answer to that says that it has taken them all. On Redis kombu
sends them in one round trip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any, Protocol

from amqp import Message
from amqp.serialization import dumps
from amqp.spec import Basic
from celery import signals
from kombu import compression, entity, serialization

#: Bytes that are written to RabbitMQ's socket at once.
PIECE = 1 << 18

# kombu has no types for these.
_serialise: Any = serialization.dumps
_compress: Any = compression.compress
_delivery_mode: Any = entity.maybe_delivery_mode


def is_possible(app: Any) -> bool:
    """Whether nobody looks at each message that is sent."""
    watched = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
    return not (
        any(signal.receivers for signal in watched)
        or app.conf.task_send_sent_event
        or any(callable(route) for route in app.amqp.routes)
    )


class Recorder:
    """Stands in for a producer, and keeps the message that Celery would publish."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._recorded: tuple[Any, dict[str, Any]] | None = None

    def publish(self, body: Any, **options: Any) -> None:
        self._recorded = (body, options)

    def template(self) -> Template:
        if self._recorded is None:
            raise RuntimeError("Celery has published nothing")
        body, options = self._recorded
        for name in ("retry", "retry_policy", "timeout", "confirm_timeout"):
            options.pop(name)
        headers = options.pop("headers")
        return Template(body, headers, options, own_root=headers["root_id"] == headers["id"])


@dataclass(frozen=True, slots=True)
class Template:
    """A message to be copied."""

    body: Any  # args, kwargs, and what Celery embeds
    headers: Mapping[str, Any]
    options: Mapping[str, Any]  # of ``Producer.publish``
    own_root: bool  # it was not sent by another task

    def body_with(self, args: tuple[Any, ...]) -> Any:
        return (args, *self.body[1:])

    def varying(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        """The headers in which a copy differs."""
        return {**headers, "root_id": headers["id"]} if self.own_root else {**headers}


class Publisher(Protocol):
    """Sends copies."""

    def publish(
        self, template: Template, args: tuple[Any, ...], headers: Mapping[str, Any]
    ) -> None:
        """Send one, now or later.

        Arguments:
            headers: its own, among them ``id``. None that only some of the copies have may be
                one of the template's.

        Raises:
            EncodeError: the arguments cannot be serialised.
        """


@contextlib.contextmanager
def publisher(producer: Any, size: int) -> Iterator[Publisher]:
    """Sends so many copies. When the block has ended without an error, the broker has them.

    On Redis nothing is sent before, nor at all if the block raises.
    """
    if producer.connection.transport.driver_type == "amqp" and _speaks_amqp(producer.channel):
        frames = Frames(producer)
        try:
            yield frames
            frames.finish()
        finally:
            frames.close()
    else:
        with producer.batch(max_size=size):
            yield Copies(producer)


def _speaks_amqp(channel: Any) -> bool:
    # Not with confirmations, which are awaited for each message.
    return (
        hasattr(channel, "channel_id")
        and not channel.connection.confirm_publish
        and hasattr(channel.connection.transport, "write")
    )


class Copies:
    """Sends each by way of kombu's producer."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def publish(
        self, template: Template, args: tuple[Any, ...], headers: Mapping[str, Any]
    ) -> None:
        merged = {**template.headers, **template.varying(headers)}
        options = {**template.options, "correlation_id": headers["id"], "headers": merged}
        self._producer.publish(template.body_with(args), **options)


class Frames:
    """Writes AMQP's frames for many messages at once."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._channel = producer.connection.ensure(producer, self._open_channel, max_retries=3)()
        self._encoders: dict[int, tuple[Template, Encoder]] = {}
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def publish(
        self, template: Template, args: tuple[Any, ...], headers: Mapping[str, Any]
    ) -> None:
        known = self._encoders.get(id(template))
        if known is None:
            for entity in template.options.get("declare") or ():
                self._producer.maybe_declare(entity)
            known = template, Encoder(template, self._channel)
            self._encoders[id(template)] = known
        for frame in known[1].frames(args, headers):
            self._pending.append(frame)
            self._pending_bytes += len(frame)
        if self._pending_bytes >= PIECE:
            self._write()

    def finish(self) -> None:
        """Have the broker say that it has taken them all."""
        self._write()
        self._channel.close()

    def close(self) -> None:
        """Also when something has gone wrong, and the connection is lost perhaps."""
        with contextlib.suppress(*self._producer.connection.connection_errors):
            self._channel.close()  # Does nothing if it is closed.

    def _open_channel(self) -> Any:
        # Takes a round trip: the connection is alive.
        return self._producer.connection.channel()

    def _write(self) -> None:
        data, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        self._channel.connection.transport.write(data)


class Encoder:
    """Makes frames of copies of one template; what they have in common is encoded once."""

    def __init__(self, template: Template, channel: Any) -> None:
        self._template = template
        options = template.options
        self._number = channel.channel_id
        self._room = channel.connection.frame_max - 8
        self._serializer = options["serializer"]
        self._compressor = options["compression"]
        exchange = getattr(options["exchange"], "name", options["exchange"])
        address = (0, exchange or "", options["routing_key"] or "", False, False)
        self._method = self._frame(1, pack(">HH", *Basic.Publish) + dumps("Bssbb", address))
        varying = {"id", "root_id", "argsrepr"} if template.own_root else {"id", "argsrepr"}
        constant = {name: value for name, value in template.headers.items() if name not in varying}
        self._constant_headers = _table(constant)
        self._properties = {
            name: value
            for name, value in options.items()
            if name not in ("serializer", "compression", "exchange", "routing_key", "declare")
        }
        self._properties["delivery_mode"] = _delivery_mode(options["delivery_mode"])

    def frames(self, args: tuple[Any, ...], headers: Mapping[str, Any]) -> list[bytes]:
        """Those of one message."""
        body = self._template.body_with(args)
        content_type, encoding, data = _serialise(body, serializer=self._serializer)
        varying = self._template.varying(headers)
        if isinstance(data, str):
            data = data.encode(encoding)
        if self._compressor:
            data, varying["compression"] = _compress(data, self._compressor)
        properties = {
            **self._properties,
            "content_type": content_type,
            "content_encoding": encoding,
            "correlation_id": headers["id"],
        }
        table = self._constant_headers + _table(varying)
        header = pack(">HHQ", Basic.Publish[0], 0, len(data)) + _properties(properties, table)
        room = self._room
        return [
            self._method,
            self._frame(2, header),
            *(self._frame(3, data[i : i + room]) for i in range(0, len(data), room)),
        ]

    def _frame(self, kind: int, payload: bytes) -> bytes:
        return pack(">BHI", kind, self._number, len(payload)) + payload + b"\xce"


def _table(values: Mapping[str, Any]) -> bytes:
    """A table's entries, without its length: such can be joined."""
    encoded: bytes = dumps("F", (values,))
    return encoded[4:]


def _properties(values: Mapping[str, Any], headers: bytes) -> bytes:
    """A message's properties, with headers that are encoded already."""
    flags = 0
    before: list[tuple[str, Any]] = []
    after: list[tuple[str, Any]] = []
    for position, (name, kind) in enumerate(Message.PROPERTIES):
        if name == "application_headers":
            flags |= 1 << 15 - position
        elif values.get(name) is not None:
            flags |= 1 << 15 - position
            (before if position < _HEADERS else after).append((kind, values[name]))
    return b"".join(
        (pack(">H", flags), _plain(before), pack(">I", len(headers)), headers, _plain(after))
    )


_HEADERS = [name for name, _ in Message.PROPERTIES].index("application_headers")


def _plain(values: list[tuple[str, Any]]) -> bytes:
    kinds = "".join(kind for kind, _ in values)
    encoded: bytes = dumps(kinds, [value for _, value in values])
    return encoded
