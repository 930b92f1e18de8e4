"""A language model of a few lines: a server on the loopback interface that speaks OpenAI's protocol and follows a script.

It behaves as the problem says: a problem holds a word such as ``lying`` or ``slow``, and any other is served well.
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SLOW_SECONDS = 0.2


class ScriptedServer:
    """``requests`` counts what was asked: (stage, problem's number). ``most_at_once``: requests under way together."""

    def __init__(self):
        self.requests, self.most_at_once, self.down = Counter(), 0, False
        self._under_way, self._lock = 0, threading.Lock()
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet

            def do_POST(self):
                prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
                status, body = script.answer(prompt)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, prompt):
        """(HTTP status, body)."""
        stage = "form" if "name the form" in prompt else "rewrite" if "Rewrite the problem" in prompt else "solve"
        number = re.search(r"Problem (\d+)", prompt)[1]
        with self._lock:
            self.requests[stage, number] += 1
            tries = self.requests[stage, number]
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            return self._answer(stage, prompt, tries)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer(self, stage, prompt, tries):
        if self.down or ("flaky" in prompt and tries <= 2):
            return 503, b'{"error": {"message": "overloaded"}}'
        if "refused" in prompt:
            return 400, b'{"error": {"message": "the prompt is too long"}}'
        if "garbled" in prompt and tries == 1:
            return 200, b'{"choices": []}'
        if "slow" in prompt:
            time.sleep(SLOW_SECONDS)
        text = {"form": form, "rewrite": rewrite, "solve": solve}[stage](prompt, tries)
        return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def form(prompt, tries):
    """Only ``(x+5)(x+2)`` is asked for in these tests."""
    values = "m=2, n=5" if "misled" in prompt else "m=5, n=2"
    return f"It is a product.\n<form>(x+m)(x+n)</form>\n<values>{values}</values>"


def rewrite(prompt, tries):
    """A question as a good model writes it, or as the problem's word says."""
    problem = re.search(r"Problem: (.+)\n", prompt)[1]
    sentence = re.search(r"has the form (.+)\. Keep everything", prompt)[1]
    combination = re.search(r"the value of (.+)\. Do not", prompt)[1]
    integer = re.search(r"sum is (-?\d+)", problem)[1]
    if "malformed" in prompt or ("clumsy" in prompt and tries == 1):
        return f"Sure! The answer is {integer}."
    if "lying" in prompt:
        integer = str(int(integer) + 1)
    if "forgetful" in prompt:
        problem = problem.replace("Problem", "Question").replace("7", "seven")
    if "chatty" in prompt:
        problem += " Note that m=2."
    return f"<problem>{problem} The answer has the form {sentence}. Find ${combination}$.</problem><answer>{integer}</answer>"


def solve(prompt, tries):
    """The right integer, or another one."""
    integer = int(re.search(r"sum is (-?\d+)", prompt)[1])
    if "confused" in prompt:
        integer += tries
    if "contradicted" in prompt:
        integer += 1
    return f"Let us see.\nAnswer: {integer}"


@pytest.fixture
def server():
    """A fresh server."""
    scripted = ScriptedServer()
    yield scripted
    scripted._server.shutdown()
    scripted._server.server_close()
