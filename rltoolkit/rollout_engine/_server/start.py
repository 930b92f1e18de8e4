"""How a server is started: vLLM's command line and environment, from the arguments that an engine in this process would take."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

KEY_VARIABLES = ("RLTOOLKIT_SERVER_KEY", "VLLM_API_KEY")
"""Where the API key is looked for; the second is vLLM's own."""


SERVER_ARGUMENTS = {
    "worker_extension_cls": "rltoolkit.rollout_engine._vllm.server_worker.ServerWorker",
    "weight_transfer_config": '{"backend": "rltoolkit_http"}',
}
"""What a server takes beyond an engine that the trainer owns; see that class."""


def api_key() -> str | None:
    """The key that servers ask for; None where none is set."""
    return next(filter(None, map(os.environ.get, KEY_VARIABLES)), None)


def command(arguments: Mapping[str, Any], host: str, port: int) -> list[str]:
    """The command line of a server that samples and takes weights as an engine with these arguments does.

    ``vllm serve`` is the same program, but not under the CPU build, which lacks the metadata that it looks for.
    """
    arguments = {**arguments, **SERVER_ARGUMENTS}
    flags = [flag for name, value in arguments.items() for flag in _flags(f"--{name.replace('_', '-')}", value)]
    own = [f"--host={host}", f"--port={port}", "--enable-scale-out", "--generation-config=vllm", "--uvicorn-log-level=warning"]
    return [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server", *flags, *own]


def environment(*, on_gpu: bool, verbose: bool) -> dict[str, str]:
    """This process's environment with what a server reads there. The API key goes here: anybody can read a command line."""
    variables = dict(os.environ)
    variables["VLLM_SERVER_DEV_MODE"] = "1"  # the control routes
    variables["VLLM_LOGGING_LEVEL"] = "INFO" if verbose else "ERROR"
    if not on_gpu:
        variables.setdefault(
            "TORCH_COMPILE_DISABLE", "1"
        )  # vLLM compiles a function that ranks tokens, and gains nothing on a CPU
        variables.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # trainer and server take turns on the same cores
    if key := api_key():
        variables["VLLM_API_KEY"] = key
    return variables


def _flags(flag: str, value: object) -> list[str]:
    if value is True:
        return [flag]
    if value is False:
        return [flag.replace("--", "--no-", 1)]
    return [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
