"""Short cuts through py-amqp, where the worker's main process spends most of its time.

They do what py-amqp does, in fewer steps, and step aside where it is not the py-amqp that they
know:

- kombu reads one message a round of the event loop, and py-amqp takes it apart with nine system
  calls that read a few bytes each, and six that switch the socket's timeout. Here what is there
  is read once, and py-amqp takes its frames from the buffer that it keeps anyway.
- A delivery is taken apart in one go, see :mod:`.deliveries`.
- An acknowledgement is always the same 21 bytes but for the tag, and several go in one piece.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from amqp import RecoverableConnectionError

from . import deliveries
from .deliveries import FRAME, FRAME_END

#: Bytes for one read, and so for the work between two looks at the children; for the rest of a
#: frame that is larger, so many.
READ_SIZE, READ_SIZE_MAX = 1 << 14, 1 << 18

#: Seconds that an acknowledgement waits at most; and between two of them, on average, at most
#: where they go in company, and at least where they keep a distance, of that part of the average.
PATIENCE = 0.005
COMPANY, ALONE, DISTANCE = 0.001, 0.0025, 0.75
#: So many seconds too early is in time.
CLOSE = 0.0002
#: The average is over so many; a pause counts as so many seconds at most.
AVERAGED, PAUSE = 32, 0.05

#: A whole frame: header, the method's class and number, delivery tag, multiple, end mark.
_ACK = struct.Struct(">BHIHHQBB")
_METHOD, _ACK_SIZE, _BASIC, _BASIC_ACK = 1, 13, 60, 80


def read_in_pieces(hub: Any, connection: Any) -> None:
    """Take over the reading of a connection that the loop watches.

    Not of one with TLS, which has a buffer of its own that the loop cannot see.
    """
    transport = getattr(connection, "transport", None)
    sock = getattr(transport, "sock", None)
    if type(sock) is socket.socket and isinstance(getattr(transport, "_read_buffer", None), bytes):
        hub.add_reader(sock, _read, connection, transport, sock)


def _read(connection: Any, transport: Any, sock: socket.socket) -> None:
    if not connection.connected:
        raise RecoverableConnectionError("Socket was disconnected")
    try:
        size = min(max(READ_SIZE, _missing(transport._read_buffer)), READ_SIZE_MAX)
        data = sock.recv(size, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    if not data:
        connection.drain_events(timeout=0)  # It has the error for this.
    transport._read_buffer += data
    while not _missing(transport._read_buffer) and connection.transport is transport:
        if not deliveries.take(connection, transport):
            connection.blocking_read()  # Which does not read: all it wants is in the buffer.


def _missing(data: bytes) -> int:
    """Bytes of the first frame that are not there yet, as far as that is known; 0: none."""
    payload = len(data) - FRAME.size - 1
    if payload < 0:
        return -payload
    return max(0, int(FRAME.unpack_from(data)[2]) - payload)


class Acknowledgements:
    """Sends several together, which costs the broker even less than this process.

    They are held back while one soon follows the other and more tasks wait here than
    acknowledgements, and :data:`PATIENCE` at most: what the broker would send next is not needed
    yet. Otherwise they go at the end of a round of the event loop; what is sent next may be more
    urgent than all that waits. For its sake those of children that end their tasks in step go
    one after the other, so that the broker has a chance in between, too. They come before any
    frame that is written after them.
    """

    def __init__(
        self, waiting: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._last = 0.0  # when the last one came
        self._interval = 0.0  # seconds between two, on average
        self._next = 0.0  # when one that keeps its distance may go
        self._held: deque[tuple[bytes, float]] = deque()  # frames, and when they go at the latest
        self._hub: Any = None  # without a loop nothing waits
        self._armed = False  # the loop will call
        self._channel: Any = None  # None: no connection
        self._write_frame: Any = None  # py-amqp's, for all other frames

    def connected(self, hub: Any, channel: Any) -> None:
        """Take over a channel's acknowledgements; not those of another transport."""
        connection: Any = getattr(channel, "connection", None)
        if not hasattr(connection, "bytes_sent") or not hasattr(connection, "frame_writer"):
            return
        self._channel, self._hub, self._armed = channel, hub, False
        channel.basic_ack = self._basic_ack
        if hub is not None:
            self._write_frame = connection.frame_writer
            connection.frame_writer = self._write_in_order
            hub.on_tick.add(self._round_is_over)

    def disconnected(self) -> None:
        """The broker delivers again what it was not told of."""
        self._held.clear()
        self.at_once()
        self._channel = None

    def at_once(self) -> None:
        """The loop turns no more: what waits goes now, and whatever comes as soon as it does."""
        if self._hub is not None:
            self._hub.on_tick.discard(self._round_is_over)
            self._hub = None
        self._flush(inf)

    def _flush(self, until: float) -> None:
        frames = []
        while self._held and self._held[0][1] <= until:
            frames.append(self._held.popleft()[0])
        if frames and self._channel is not None:
            connection = self._channel.connection
            connection.transport.write(b"".join(frames))
            connection.bytes_sent += len(frames)  # The heartbeat wants to know.

    def _basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        channel = self._channel
        if channel is None or channel.connection is None:
            raise RecoverableConnectionError("connection already closed")
        frame = (_METHOD, channel.channel_id, _ACK_SIZE, _BASIC, _BASIC_ACK)
        now = self._clock()
        self._interval += (min(now - self._last, PAUSE) - self._interval) / AVERAGED
        self._last = now
        due = self._due(now)
        self._held.append((_ACK.pack(*frame, delivery_tag, multiple, FRAME_END), due))
        if self._hub is None:
            self._flush(inf)
        elif due > now and not self._armed:
            # Not at the end of the round: the loop has decided then how long it will sleep.
            self._call_at(due, now)

    def _due(self, now: float) -> float:
        if self._interval <= COMPANY:
            return self._held[0][1] if self._held else now + PATIENCE
        if self._interval < ALONE:
            return now
        due = min(max(now, self._next), now + PATIENCE)
        self._next = due + DISTANCE * self._interval
        return due

    def _round_is_over(self) -> None:
        if self._held:
            now = self._clock()
            # Those that wait go along with one that does not.
            all_go = len(self._held) > self._waiting() or self._held[-1][1] <= now
            self._flush(inf if all_go else now)

    def _call_at(self, when: float, now: float) -> None:
        self._armed = True
        self._hub.call_later(when - now, self._on_time)

    def _on_time(self) -> None:
        self._armed = False
        now = self._clock()
        self._flush(now + CLOSE)
        if self._held and self._hub is not None:
            self._call_at(self._held[0][1], now)

    def _write_in_order(self, *frame: Any) -> None:
        self._flush(inf)
        self._write_frame(*frame)
