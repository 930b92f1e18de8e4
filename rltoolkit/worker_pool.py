"""Processes that do untrusted work: if one dies, its request fails, and the others go on."""

from __future__ import annotations

import json
import queue
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What a worker answers to one request, a JSON list on a line of its own."""

    value: Any
    """None where the request failed"""
    failed: bool


class WorkerPool:
    """``size`` processes of one script, each used by one thread at a time. They end when this program does.

    The script prints ``ready`` once it can work, then reads a JSON request a line and writes a ``Reply`` a line.

    Args:
        script: its file.
        size: processes.
        arguments: of the script.
        seconds: wall time of a request after which its process is killed; None: no limit.
    """

    def __init__(self, script: str, size: int, arguments: tuple[str, ...] = (), seconds: float | None = None) -> None:
        self.failures = 0
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker_pool")
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(_Worker((script, *arguments), seconds))

    def ask(self, requests: list[dict[str, Any]]) -> list[Any]:
        """The value of each request's reply. Raises RuntimeError where the script does not start."""
        replies = list(self._threads.map(self._ask_one, requests))
        self.failures += sum(reply.failed for reply in replies)
        return [reply.value for reply in replies]

    def _ask_one(self, request: dict[str, Any]) -> Reply:
        worker = self._idle.get()
        try:
            return worker.ask(request)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process, started when it is first needed and again after it ended."""

    def __init__(self, command: tuple[str, ...], seconds: float | None) -> None:
        self._command, self._seconds = command, seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> Reply:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline() if wait([process.stdout.fileno()], self._seconds) else ""
        except BrokenPipeError:  # it died between two requests
            line = ""
        if line:
            return Reply(*json.loads(line))
        process.kill()
        process.wait()
        self._process = None
        return Reply(value=None, failed=True)

    def _start(self) -> subprocess.Popen[str]:
        # -P keeps the script's folder off the path, where its modules could hide libraries of the same name.
        process = subprocess.Popen(
            [sys.executable, "-P", *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"'{shlex.join([sys.executable, '-P', *self._command])}' does not start; run it to see why")
        return process
