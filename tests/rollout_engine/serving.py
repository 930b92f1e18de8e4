"""A real server for the tests, started by ``python -m rltoolkit.serve``, and a second address of it that can fail."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

KEY = "a-key-for-tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A server that starts in the background; ``wait_until_ready`` before it is used."""

    def __init__(self, overrides: list[str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"serve_{self.port}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rltoolkit.serve", *overrides, "--port", str(self.port)],
            stderr=self.log.open("w"),
            env={**os.environ, "RLTOOLKIT_SERVER_KEY": KEY},
        )

    def wait_until_ready(self) -> None:
        while "ready: " not in self.log.read_text():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
                raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def processes(self) -> list[psutil.Process]:
        """vLLM's own, the engine's among them."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        for process in self.processes():
            process.kill()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Relay:
    """A second address of a server, whose connections the test can cut."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """As if the server had died: its connections break, new ones are closed at once."""
        self.is_cut = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """SIGSTOP, then SIGCONT."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
