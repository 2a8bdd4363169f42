"""A task message as the store keeps it, to be published again as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kombu.serialization import loads
from kombu.utils.json import dumps as to_json
from kombu.utils.json import loads as from_json

#: Headers of what the gate publishes: which publication this is, and why the task must not run.
PUBLICATION = "workerpool_publication"
CAUSE = "workerpool_cause"

#: Properties that are published again. Not ``user_id``, which the broker checks.
PROPERTIES = (
    *("app_id", "correlation_id", "delivery_mode", "expiration", "message_id"),
    *("priority", "reply_to", "timestamp", "type"),
)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything of a message that a worker can tell.

    Attributes:
        body: as it was received, still encoded; compressed again when it is published.
    """

    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    properties: dict[str, Any]
    exchange: str
    routing_key: str

    @classmethod
    def of_message(cls, message: Any) -> Parcel:
        """From a message that kombu has received."""
        body, info = message.body, message.delivery_info
        encoding = message.content_encoding
        return cls(
            body=body if isinstance(body, bytes) else str(body).encode(encoding or "utf-8"),
            content_type=message.content_type,
            content_encoding=encoding,
            headers=dict(message.headers),
            properties={
                name: message.properties[name]
                for name in PROPERTIES
                if message.properties.get(name) is not None
            },
            exchange=info.get("exchange") or "",
            routing_key=info.get("routing_key") or "",
        )

    def to_bytes(self) -> bytes:
        """As text and body, divided by a null byte."""
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "body"}
        text: str = to_json(rest)  # type: ignore[no-untyped-call]
        return text.encode() + b"\0" + self.body

    def chord(self) -> Any:
        """The chord that this task is a part of, if the body can say so."""
        try:
            arguments = (self.body, self.content_type, self.content_encoding)
            return loads(*arguments)[2].get("chord")  # type: ignore[no-untyped-call]
        except Exception:  # Whatever is wrong with the body, there is no chord to tell.
            return None

    @classmethod
    def of_bytes(cls, data: bytes) -> Parcel:
        rest, _, body = data.partition(b"\0")
        return cls(body=body, **from_json(rest))  # type: ignore[no-untyped-call]
