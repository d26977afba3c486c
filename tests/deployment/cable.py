# SPDX-License-Identifier: Apache-2.0
"""A cable between a hospital and the server, which can be pulled out."""

import socket
import threading
from contextlib import suppress


class Cable:
    """Carries bytes from a port of its own to another port of this machine, while it is plugged in.

    Args:
        port: where it leads.

    Attributes:
        end: the port to connect to.
    """

    def __init__(self, port: int) -> None:
        self._port, self._plugged = port, True
        self._listener = socket.create_server(("localhost", 0))
        self.end = self._listener.getsockname()[1]
        self._carried: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        """End what is connected, and let nobody connect."""
        self._plugged = False
        for connection in self._carried:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._carried.clear()

    def plug(self) -> None:
        """Let connections through again."""
        self._plugged = True

    def close(self) -> None:
        """Pull it, for good."""
        self.pull()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._plugged:
                    self._connect(near)
                else:
                    near.close()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("localhost", self._port))
        except OSError:
            near.close()
            return
        self._carried += [near, far]
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with source, suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
