"""Frames over a stream socket: never blocking in the pool, blocking in the child."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from contextlib import suppress

from .messages import HEADER

#: One read takes this much at most: one child's 100 MB keep no other child waiting, and the
#: buffer that each read allocates stays below what malloc would map and unmap every time.
READ_SIZE = 1 << 16

#: Exit code of a child that lost its channel while it lived.
EX_CHANNEL = 74  # EX_IOERR
#: Seconds for one system call that does not wait.
LOCK_TIMEOUT = 1.0
#: Seconds that a small frame waits for another thread's system call.
OFFER_TIMEOUT = 0.02
#: Linux queues what fits a page in one piece.
OFFER_SIZE = 4096

Frame = tuple[int, int, bytes]  # tag, job, payload


class ChannelClosed(Exception):
    """The other side has closed the socket, or is gone."""


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._partial = bytearray()  # a frame of which only the beginning has come

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes."""
        if not self._partial and len(data) >= HEADER.size:
            tag, job, length = HEADER.unpack_from(data)
            if len(data) == HEADER.size + length:  # The rule: exactly one.
                return [(tag, job, data[HEADER.size :])]
        source: bytes | bytearray = data
        if self._partial:
            self._partial += data
            source = self._partial
        frames = []
        start = 0
        while len(source) - start >= HEADER.size:
            tag, job, length = HEADER.unpack_from(source, start)
            end = start + HEADER.size + length
            if len(source) < end:
                break
            frames.append((tag, job, bytes(memoryview(source)[start + HEADER.size : end])))
            start = end
        if source is data:
            self._partial += data[start:]
        else:
            del self._partial[:start]
        return frames


class Channel:
    """The pool's end: every call returns at once. Not thread-safe.

    Owns the socket; :meth:`close` it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._reader = FrameReader()
        self._unsent: deque[memoryview] = deque()

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        """Whether :meth:`flush` has something to do."""
        return bool(self._unsent)

    def send(self, frame: bytes) -> bool:
        """Send as much as goes; False when the rest waits for :meth:`flush`.

        Raises:
            ChannelClosed: nobody will read this.
        """
        if not self._unsent:
            sent = self._write(frame)
            if sent == len(frame):
                return True
            self._unsent.append(memoryview(frame)[sent:])
        else:
            self._unsent.append(memoryview(frame))
        return False

    def flush(self) -> bool:
        """Send what waits; True when nothing is left.

        Raises:
            ChannelClosed: nobody will read this.
        """
        while self._unsent:
            head = self._unsent[0]
            sent = self._write(head)
            if sent < len(head):
                self._unsent[0] = head[sent:]
                return False
            self._unsent.popleft()
        return True

    def receive(self) -> list[Frame]:
        """What can be read now, in whole frames.

        Raises:
            ChannelClosed: the end was reached; everything before it was returned.
        """
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError as exc:
            raise ChannelClosed(str(exc)) from None
        if not data:
            raise ChannelClosed("end of file")
        return self._reader.feed(data)

    def drain(self) -> list[Frame]:
        """Everything that is left of a child that is dead. Never raises."""
        frames = []
        with suppress(OSError):
            while data := self._socket.recv(READ_SIZE):
                frames += self._reader.feed(data)
        return frames

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise ChannelClosed(str(exc)) from None


class ChildChannel:
    """The child's end: blocking. Owns the socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._inode = os.fstat(sock.fileno()).st_ino
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()
        self._sending = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Return when all of it is on its way.

        Raises:
            ChannelClosed: the pool is gone, or the task closed this descriptor.
        """
        try:
            # A task that closed every descriptor may have opened a file in this one's place.
            if os.fstat(self._socket.fileno()).st_ino != self._inode:
                raise ChannelClosed("the task closed the channel to the pool")
            # offer() never waits: if it holds the lock for long, a signal has cut it off
            # between taking the lock and giving it back.
            self._sending.acquire(timeout=LOCK_TIMEOUT)
            try:
                self._socket.sendall(frame)
            finally:
                with suppress(RuntimeError):
                    self._sending.release()
        except OSError as exc:
            raise ChannelClosed(str(exc)) from None

    def offer(self, frame: bytes) -> bool:
        """Send a small frame if all of it goes at once; False when it was dropped.

        For tasks, from any thread; waits for nothing but another thread that is just sending.
        One system call, which takes a small frame whole or not at all: a signal that ends the
        task in the middle cannot tear the frame apart.
        """
        if len(frame) > OFFER_SIZE or not self._sending.acquire(timeout=OFFER_TIMEOUT):
            return False
        try:
            if os.fstat(self._socket.fileno()).st_ino != self._inode:
                return False
            return self._socket.send(frame, socket.MSG_DONTWAIT) == len(frame)
        except OSError:  # The socket is full, or closed: the reply will find out.
            return False
        finally:
            self._sending.release()

    def receive(self) -> Frame:
        """Wait for one frame.

        Raises:
            ChannelClosed: the pool is gone, or the task closed this descriptor.
        """
        while not self._frames:
            try:
                data = self._socket.recv(READ_SIZE)
            except OSError as exc:
                raise ChannelClosed(str(exc)) from None
            if not data:
                raise ChannelClosed("end of file")
            self._frames.extend(self._reader.feed(data))
        return self._frames.popleft()
