"""Frames over a socket that takes what it can."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.process.channel import (
    OFFER_SIZE,
    READ_SIZE,
    Channel,
    ChannelClosed,
    ChildChannel,
    Frame,
    FrameReader,
)
from celery_workerpool.process.messages import HEADER

MIB = 2**20


def frame(tag: int, job: int, payload: bytes) -> bytes:
    return HEADER.pack(tag, job, len(payload)) + payload


FRAMES = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 2**64 - 1), st.binary(max_size=40)), max_size=6
)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=100, deadline=None)
def test_a_stream_cut_anywhere_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame(*f) for f in frames)
    reader, got, start = FrameReader(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        end = min(max(start, cut), len(stream))
        got += reader.feed(stream[start:end])
        start = end
    assert got == frames


def test_byte_by_byte() -> None:
    reader, got = FrameReader(), []
    for byte in frame(1, 2, b"abc") + frame(3, 4, b""):
        got += reader.feed(bytes([byte]))
    assert got == [(1, 2, b"abc"), (3, 4, b"")]


@pytest.mark.parametrize("size", [0, 1, READ_SIZE - 17, READ_SIZE, 3 * MIB + 1])
def test_large_frames_between_small_ones(size: int) -> None:
    frames = [(1, 1, b"before"), (2, 2, bytes(size)), (3, 3, b"after")]
    stream = b"".join(frame(*f) for f in frames)
    reader, got = FrameReader(), []
    for start in range(0, len(stream), READ_SIZE):
        got += reader.feed(stream[start : start + READ_SIZE])
    assert got == frames


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The pool's end, and the raw other one."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.setblocking(False)
    yield channel, theirs
    channel.close()
    theirs.close()


def read_all(sock: socket.socket) -> bytes:
    data = b""
    try:
        while chunk := sock.recv(MIB):
            data += chunk
    except BlockingIOError:
        pass
    return data


def test_what_fits_goes_at_once(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    assert channel.send(b"whole") is True
    assert channel.unsent is False
    assert read_all(theirs) == b"whole"


def test_a_full_socket_never_blocks_and_the_rest_follows_in_order(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    first, second = b"1" * (4 * MIB), b"2" * 100
    assert channel.send(first) is False
    assert channel.send(second) is False  # It must not overtake.
    assert channel.unsent is True
    assert channel.flush() is False
    received = read_all(theirs)
    while not channel.flush():
        received += read_all(theirs)
    received += read_all(theirs)
    assert received == first + second
    assert channel.unsent is False
    assert channel.send(b"3") is True


def test_nothing_to_read_is_no_frames(ends: tuple[Channel, socket.socket]) -> None:
    assert ends[0].receive() == []


def test_one_read_takes_a_piece_only(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    payload = bytes(READ_SIZE)
    data, reads, got = frame(1, 1, payload), 0, []
    while not got:
        if data:
            data = data[theirs.send(data) :]
        got, reads = channel.receive(), reads + 1
    assert got == [(1, 1, payload)]
    assert reads == 2


def test_everything_before_the_end_is_read_first(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(frame(1, 1, b"last words"))
    theirs.close()
    assert channel.receive() == [(1, 1, b"last words")]
    with pytest.raises(ChannelClosed, match="end of file"):
        channel.receive()


def test_drain_takes_all_that_is_left_and_never_raises(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    frames = [(1, n, bytes(1000)) for n in range(90)]
    theirs.send(b"".join(frame(*f) for f in frames))
    theirs.close()
    assert channel.drain() == frames
    assert channel.drain() == []
    channel.close()
    assert channel.drain() == []


def test_sending_to_nobody(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    channel.send(bytes(4 * MIB))
    theirs.close()
    with pytest.raises(ChannelClosed):
        channel.flush()
    fresh, gone = socket.socketpair()
    gone.close()
    other = Channel(fresh)
    with pytest.raises(ChannelClosed):
        other.send(b"hello?")
    other.close()


def test_a_closed_channel(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    channel.close()
    channel.close()
    assert channel.fileno() == -1
    with pytest.raises(ChannelClosed):
        channel.receive()


# ── the child's end ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def child() -> Iterator[tuple[ChildChannel, socket.socket]]:
    """The child's end, and the raw other one."""
    ours, theirs = socket.socketpair()
    yield ChildChannel(ours), theirs
    ours.close()
    theirs.close()


def test_a_child_waits_for_one_frame_and_keeps_the_others(
    child: tuple[ChildChannel, socket.socket],
) -> None:
    channel, pool = child
    pool.sendall(frame(1, 1, b"a") + frame(2, 2, b"b"))
    assert [channel.receive(), channel.receive()] == [(1, 1, b"a"), (2, 2, b"b")]
    pool.close()
    with pytest.raises(ChannelClosed, match="end of file"):
        channel.receive()


def test_a_child_does_not_write_into_a_file_that_took_the_place_of_its_channel(
    child: tuple[ChildChannel, socket.socket], tmp_path
) -> None:
    import os

    channel, pool = child
    channel.send(b"fine")
    with (tmp_path / "file").open("w") as file:
        os.dup2(file.fileno(), channel._socket.fileno())  # A task closed all and opened a file.
        with pytest.raises(ChannelClosed, match="the task closed the channel"):
            channel.send(b"not into the file")
        assert channel.offer(b"nor this") is False
    assert (tmp_path / "file").read_bytes() == b""
    assert pool.recv(100) == b"fine"


def test_an_offer_waits_for_one_that_is_just_being_sent(
    child: tuple[ChildChannel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign of life and a task's last word may meet."""
    channel, _ = child
    monkeypatch.setattr("celery_workerpool.process.channel.OFFER_TIMEOUT", 30.0)
    channel._sending.acquire()
    sent = threading.Timer(0.05, channel._sending.release)
    sent.start()
    assert channel.offer(b"last word") is True
    sent.join()


def test_an_offer_goes_whole_or_not_at_all(child: tuple[ChildChannel, socket.socket]) -> None:
    channel, pool = child
    pool.setblocking(False)
    assert channel.offer(bytes(OFFER_SIZE + 1)) is False
    piece, taken = b"p" * 1000, 0
    while channel.offer(piece):
        taken += 1
    assert taken > 0
    assert read_all(pool) == piece * taken
    assert channel.offer(piece) is True
    pool.close()
    assert channel.offer(piece) is False
