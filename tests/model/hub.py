"""A stand-in for the Hugging Face hub on 127.0.0.1: the few routes that downloading a model asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "1" * 40


class Hub(ThreadingHTTPServer):
    """Serves the files of ``folder`` as the model ``someone/tiny``; ``asked`` lists the requests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        files = sorted(file for file in self.server.folder.iterdir() if file.is_file())
        if path in ("/api/models/someone/tiny", "/api/models/someone/tiny/revision/main"):
            siblings = [{"rfilename": file.name} for file in files]
            self._send(
                json.dumps({"id": "someone/tiny", "modelId": "someone/tiny", "sha": COMMIT, "siblings": siblings}), with_body
            )
        elif path == f"/api/models/someone/tiny/tree/{COMMIT}":
            entries = [{"type": "file", "path": it.name, "size": it.stat().st_size, "oid": _digest(it)} for it in files]
            self._send(json.dumps(entries), with_body)
        elif path.startswith("/someone/tiny/resolve/") and (file := self.server.folder / path.rpartition("/")[2]).is_file():
            self._send(file.read_bytes(), with_body, {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(file)}"'})
        else:
            self._send("{}", with_body, {"X-Error-Code": "RepoNotFound"}, status=404)

    def _send(self, body: str | bytes, with_body: bool, headers: dict[str, str] | None = None, status: int = 200) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing on standard error."""


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A running hub."""
    hub = Hub(folder)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
