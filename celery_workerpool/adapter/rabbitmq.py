"""Short cuts through py-amqp, where the worker's main process spends most of its time.

They do what py-amqp does, in fewer steps, and step aside where it is not the py-amqp that they
know:

- kombu reads one message a round of the event loop, and py-amqp takes it apart with nine system
  calls that read a few bytes each, and six that switch the socket's timeout. Here what is there
  is read once, and py-amqp takes its frames from the buffer that it keeps anyway.
- A delivery is taken apart in one go, see :mod:`.deliveries`.
- An acknowledgement is always the same 21 bytes but for the tag.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from amqp import RecoverableConnectionError

from . import deliveries
from .deliveries import FRAME, FRAME_END

#: Bytes for one read, and so for the work between two looks at the children.
READ_SIZE = 1 << 14

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
        data = sock.recv(READ_SIZE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    if not data:
        connection.drain_events(timeout=0)  # It has the error for this.
    transport._read_buffer += data
    while _begins_with_frame(transport._read_buffer) and connection.transport is transport:
        if not deliveries.take(connection, transport):
            connection.blocking_read()  # Which does not read: all it wants is in the buffer.


def _begins_with_frame(data: bytes) -> bool:
    size = len(data) - FRAME.size - 1  # of the payload, at most
    return size >= 0 and size >= FRAME.unpack_from(data)[2]


def acknowledge_in_one_piece(channel: Any) -> None:
    """Replace ``channel.basic_ack``."""
    connection = getattr(channel, "connection", None)
    if not hasattr(connection, "bytes_sent") or not hasattr(connection, "frame_writer"):
        return

    def basic_ack(delivery_tag: int, multiple: bool = False) -> None:
        connection = channel.connection
        if connection is None:
            raise RecoverableConnectionError("connection already closed")
        connection.transport.write(
            _ACK.pack(
                _METHOD,
                channel.channel_id,
                _ACK_SIZE,
                _BASIC,
                _BASIC_ACK,
                delivery_tag,
                multiple,
                FRAME_END,
            )
        )
        connection.bytes_sent += 1  # The heartbeat wants to know whether anything was.

    channel.basic_ack = basic_ack
