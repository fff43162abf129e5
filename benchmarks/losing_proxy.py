"""A proxy before a PostgreSQL server that loses the reply to a COMMIT, and with it the session."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class LosingProxy:
    """Listens on a loopback port before the server's.

    What is lost was committed, and whoever asked for it cannot know.
    """

    def __init__(self, port: int, *, most: int) -> None:
        """`port` is the server's, on loopback; `most` is how many replies are lost in all."""
        self.every = 0
        """Of so many commits the last one's reply is lost; 0: none."""
        self.commits = self.lost = 0
        self._server = port
        self._most = most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._listener)
        for one in list(self._open):
            _end(one)

    @property
    def _is_to_be_lost(self) -> bool:
        return self.every > 0 and self.lost < self._most and self.commits % self.every == 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._server)) as server,
        ):
            self._open |= {client, server}
            is_losing = threading.Event()
            back = threading.Thread(target=_pump, args=(server, client, is_losing), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while sent := client.recv(65536):
                    if b"COMMIT\0" in sent:
                        self.commits += 1
                        if self._is_to_be_lost:
                            self.lost += 1
                            is_losing.set()
                    server.sendall(sent)
            _end(server)
            back.join()
            self._open -= {client, server}


def _pump(server: socket.socket, client: socket.socket, is_losing: threading.Event) -> None:
    """Hands on what the server says, until what it says is to be lost."""
    with contextlib.suppress(OSError):
        while (said := server.recv(65536)) and not is_losing.is_set():
            client.sendall(said)
    _end(client)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
