"""A TCP proxy between a worker and its broker that can be cut, held and mended."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

#: What a proxy's thread is told.
END, HOLD, GO_ON = b"e", b"h", b"g"


class Proxy:
    """Forwards a port of its own to a server's; a context manager that leaves nothing behind.

    Arguments:
        url: the server's; :attr:`url` is the same through the proxy.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        host = parts.netloc.rpartition("@")[0]
        netloc = f"{host}@127.0.0.1:{self._port}" if host else f"127.0.0.1:{self._port}"
        self.url = urlunsplit(parts._replace(netloc=netloc))
        self._listener.close()
        self._thread: _Forwarder | None = None

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Drop every connection and refuse new ones."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def hold(self) -> None:
        """Forward nothing and close nothing: for the worker, a broker that does not answer."""
        assert self._thread is not None
        self._thread.tell(HOLD)

    def go_on(self) -> None:
        """Forward again, also what came meanwhile."""
        assert self._thread is not None
        self._thread.tell(GO_ON)

    def mend(self) -> None:
        """Take connections again, on the same port."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._thread = _Forwarder(listener, self._target)
        self._thread.start()


class _Forwarder(threading.Thread):
    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        super().__init__(name="proxy", daemon=True)
        self._listener = listener
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()

    def tell(self, order: bytes) -> None:
        self._wake_w.send(order)

    def close(self) -> None:
        self.tell(END)
        self.join()

    def run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_r:
                    while (order := self._wake_r.recv(1)) == HOLD:
                        pass
                    if order == END:
                        self._end()
                        return
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._selector.get_map():
                    self._forward(key.fileobj, key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            sink.sendall(data)
        if not data:
            for sock in (source, sink):
                self._selector.unregister(sock)
                sock.close()

    def _end(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake_w.close()
        self._selector.close()
