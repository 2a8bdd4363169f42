"""Short cuts through py-amqp do what py-amqp does."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import RecoverableConnectionError
from amqp.abstract_channel import AbstractChannel
from amqp.channel import Channel
from amqp.connection import Connection
from amqp.method_framing import frame_writer
from amqp.transport import TCPTransport
from kombu.asynchronous import Hub

from celery_workerpool.adapter import rabbitmq


def frame(payload: bytes, kind: int = 1) -> bytes:
    return pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


class Wire:
    """A py-amqp connection without its handshake, and the broker's end of its socket."""

    def __init__(self) -> None:
        sock, self.broker = socket.socketpair()
        self.transport = TCPTransport("nowhere:1")
        self.transport.sock = sock
        self.transport.connected = True
        self.transport._setup_transport()
        self.connection = Connection()
        self.connection._transport = self.transport
        self.frames: list[bytes] = []
        self.connection.on_inbound_frame = lambda frame: self.frames.append(bytes(frame[2]))
        self.readers: dict[Any, tuple[Any, ...]] = {}
        rabbitmq.read_in_pieces(self, self.connection)

    def add_reader(self, sock: socket.socket, callback: Any, *args: Any) -> None:
        self.readers[sock] = (callback, args)

    def arrive(self, data: bytes) -> list[bytes]:
        """What is told of when the broker has sent that."""
        self.frames.clear()
        self.broker.sendall(data)
        self.read()
        return self.frames

    def sent(self) -> list[bytes]:
        """Frames for the broker, from their channel's number on."""
        data, frames = self.broker.recv(1000), []
        while data:
            size = 8 + int.from_bytes(data[3:7])
            frames.append(data[1:3] + data[7 : size - 1])
            data = data[size:]
        return frames

    def count(self) -> int:
        """How many frames have come to the broker and were not counted before."""
        return len(self.sent()) if select.select([self.broker], [], [], 0)[0] else 0

    def nothing_was_sent(self) -> bool:
        with pytest.raises(BlockingIOError):
            self.broker.recv(1, socket.MSG_DONTWAIT)
        return True

    def read(self) -> None:
        ((callback, args),) = self.readers.values()
        callback(*args)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.transport.sock.close()
    wire.broker.close()
    wire.connection._transport = None


def test_all_frames_are_taken_at_once(wire: Wire) -> None:
    assert wire.arrive(frame(b"one") + frame(b"") + frame(b"three")) == [b"one", b"", b"three"]


@pytest.mark.parametrize("cut", range(1, 11))
def test_a_frame_may_come_in_two_parts(wire: Wire, cut: int) -> None:
    data = frame(b"one") + frame(b"two")
    split = len(frame(b"one")) + cut
    assert wire.arrive(data[:split]) == [b"one"]
    assert wire.arrive(data[split:]) == [b"two"]


def test_who_reads_in_between_finds_what_has_come(wire: Wire) -> None:
    """As a handler does that waits for the broker's answer."""
    wire.arrive(frame(b"one")[:5])
    wire.broker.sendall(frame(b"one")[5:])
    wire.connection.blocking_read(1)
    assert wire.frames == [b"one"]


def test_a_large_frame_takes_two_reads(wire: Wire) -> None:
    payload = bytes(5 * rabbitmq.READ_SIZE)
    assert wire.arrive(frame(payload) + frame(b"next")) == []
    wire.read()
    assert wire.frames == [payload]
    wire.read()
    assert wire.frames == [payload, b"next"]


def test_nothing_to_read_is_no_error(wire: Wire) -> None:
    wire.read()
    assert wire.frames == []


def test_the_end_is_py_amqp_s_error(wire: Wire) -> None:
    wire.broker.close()
    with pytest.raises(OSError, match="unexpectedly closed"):
        wire.read()
    assert not wire.transport.connected


def test_other_connections_are_left_alone() -> None:
    def add_reader(*_: Any) -> None:
        pytest.fail("taken over")

    hub = SimpleNamespace(add_reader=add_reader)
    with (
        socket.socket() as plain,
        ssl.create_default_context().wrap_socket(
            plain, server_hostname="x", do_handshake_on_connect=False
        ) as tls,
    ):
        encrypted = SimpleNamespace(sock=tls, _read_buffer=b"")
        rabbitmq.read_in_pieces(hub, SimpleNamespace(transport=encrypted))
    rabbitmq.read_in_pieces(hub, SimpleNamespace())  # Redis
    channel = SimpleNamespace(basic_ack=len)
    rabbitmq.Acknowledgements(lambda: 0).connected(Hub(), channel)
    assert channel.basic_ack is len


@pytest.fixture
def channel(wire: Wire) -> Channel:
    wire.connection.frame_writer = frame_writer(wire.connection, wire.transport)
    channel = Channel.__new__(Channel)
    AbstractChannel.__init__(channel, wire.connection, 7)
    return channel


@pytest.mark.parametrize(("tag", "multiple"), [(1, False), (2**40, True)])
def test_an_acknowledgement_is_the_one_of_py_amqp(
    wire: Wire, channel: Channel, tag: int, multiple: bool
) -> None:
    channel.basic_ack(tag, multiple)
    theirs = wire.broker.recv(100)
    rabbitmq.Acknowledgements(lambda: 0).connected(None, channel)
    channel.basic_ack(tag, multiple=multiple)
    assert wire.broker.recv(100) == theirs
    assert wire.connection.bytes_sent == 2


def test_acknowledgements_of_one_round_go_together(wire: Wire, channel: Channel) -> None:
    hub = Hub()
    rabbitmq.Acknowledgements(lambda: 0).connected(hub, channel)
    channel.basic_ack(1)
    channel.basic_ack(2)
    assert wire.nothing_was_sent()
    turn(hub)
    assert [frame[2:] for frame in wire.sent()] == [acknowledged(1), acknowledged(2)]
    assert wire.connection.bytes_sent == 2
    turn(hub)
    assert wire.nothing_was_sent()


def test_while_tasks_wait_here_acknowledgements_wait_for_others(
    wire: Wire, channel: Channel
) -> None:
    """Until there are more of them than tasks that wait."""
    hub = Hub()
    waiting = 3
    rabbitmq.Acknowledgements(lambda: waiting, clock=lambda: 0.0).connected(hub, channel)
    for tag in (1, 2, 3):
        channel.basic_ack(tag)
        turn(hub)
    assert wire.nothing_was_sent()
    channel.basic_ack(4)
    turn(hub)
    assert [frame[2:] for frame in wire.sent()] == [acknowledged(tag) for tag in (1, 2, 3, 4)]
    channel.basic_ack(5)
    turn(hub)
    waiting = 0
    turn(hub)
    assert [frame[2:] for frame in wire.sent()] == [acknowledged(5)]


def test_acknowledgements_do_not_wait_for_long(wire: Wire, channel: Channel) -> None:
    hub, now = Hub(), 0.0
    rabbitmq.Acknowledgements(lambda: 100, clock=lambda: now).connected(hub, channel)
    for tag in (1, 2):
        channel.basic_ack(tag)
        turn(hub)
        assert wire.nothing_was_sent()
        loop, began = hub.create_loop(), now
        while not select.select([wire.broker], [], [], 0)[0]:
            now += 0.001
            next(loop)
        assert now - began >= rabbitmq.PATIENCE
        assert [frame[2:] for frame in wire.sent()] == [acknowledged(tag)]
    hub.close()


def test_the_loop_wakes_for_them(wire: Wire, channel: Channel) -> None:
    """Those that come in a round are waited for in that round, whatever it would wait for."""
    hub = Hub()
    rabbitmq.Acknowledgements(lambda: 100, clock=lambda: 0.0).connected(hub, channel)
    hub.call_soon(channel.basic_ack, 1)
    waited_for = []
    hub.add_reader(wire.broker, print)
    hub.poller.poll = waited_for.append
    next(hub.create_loop())
    hub.close()
    assert [0 < seconds <= rabbitmq.PATIENCE for seconds in waited_for] == [True]


@pytest.mark.parametrize("children", [2, 3, 8])
def test_those_of_children_in_step_go_one_after_the_other(
    wire: Wire, channel: Channel, children: int
) -> None:
    hub, now, tag, due = Hub(), 1000.0, 0, list[tuple[float, float]]()
    made = rabbitmq.Acknowledgements(lambda: 100, clock=lambda: now)
    hub.call_later = lambda seconds, call: due.append((now + seconds, call))
    made.connected(hub, channel)
    period, went = 0.003 * children, list[tuple[float, float]]()
    for number in range(60):
        begin = now = 1000.0 + number * period
        for _ in range(children):
            now += 1e-5
            tag += 1
            channel.basic_ack(tag)
        turn(hub)
        moments = [now] * wire.count()
        while due:
            now, call = due.pop()
            call()
            moments += [now] * wire.count()
        assert len(moments) == children
        assert max(moments) - begin <= rabbitmq.PATIENCE + 1e-3
        went.append((min(moments) - begin, max(moments) - begin))
    assert went[-1][0] < 0.001, "the first goes at once"
    assert went[-1][1] > 0.0015, "and the last some time later"


def test_only_where_they_come_quickly_acknowledgements_wait(wire: Wire, channel: Channel) -> None:
    """What the broker sends next may be urgent, and the moment for it is not near otherwise."""
    hub, now = Hub(), 1000.0
    rabbitmq.Acknowledgements(lambda: 100, clock=lambda: now).connected(hub, channel)

    def waits(seconds: float, tag: int) -> bool:
        nonlocal now
        now += seconds
        channel.basic_ack(tag)
        turn(hub)
        return not (select.select([wire.broker], [], [], 0)[0] and wire.sent())

    assert not any(waits(0.005, tag) for tag in range(10))
    quick = [waits(0.0005, tag) for tag in range(120)]
    assert quick[-20:].count(False) <= 2, "every 5 ms they go, all together"
    assert not waits(0.05, 120)


def test_acknowledgements_come_before_what_is_written_later(wire: Wire, channel: Channel) -> None:
    rabbitmq.Acknowledgements(lambda: 0).connected(Hub(), channel)
    channel.basic_ack(1)
    channel.basic_reject(2, requeue=True)
    first, second = wire.sent()
    assert first[2:] == acknowledged(1)
    assert second[2:6] == pack(">HH", 60, 90)


def test_when_the_loop_is_over_none_waits(wire: Wire, channel: Channel) -> None:
    hub = Hub()
    acknowledgements = rabbitmq.Acknowledgements(lambda: 0)
    acknowledgements.connected(hub, channel)
    channel.basic_ack(1)
    acknowledgements.at_once()
    channel.basic_ack(2)
    assert [frame[2:] for frame in wire.sent()] == [acknowledged(1), acknowledged(2)]
    assert not hub.on_tick


def test_a_lost_connection_is_not_written_to(wire: Wire, channel: Channel) -> None:
    hub = Hub()
    acknowledgements = rabbitmq.Acknowledgements(lambda: 0)
    acknowledgements.connected(hub, channel)
    channel.basic_ack(1)
    acknowledgements.disconnected()
    turn(hub)
    with pytest.raises(RecoverableConnectionError):
        channel.basic_ack(2)
    assert wire.nothing_was_sent()


def acknowledged(tag: int) -> bytes:
    return pack(">HHQB", 60, 80, tag, False)


def turn(hub: Hub) -> None:
    for callback in list(hub.on_tick):
        callback()
