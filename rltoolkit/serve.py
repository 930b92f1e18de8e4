"""Start a server that samples for a run: vLLM's own, with exactly the flags that the run needs.

    python -m rltoolkit.serve +experiment=dapo --port 8000
    python -m rltoolkit +experiment=dapo rollout_engine=vllm_server 'rollout_engine.urls=[http://127.0.0.1:8000]'

It takes the overrides of the run. Several servers: one command for each, with ports of their own. SIGINT or SIGTERM ends it; a
SIGTERM that is ignored where it starts stays ignored.

vLLM's control routes, over which weights are replaced, know no authentication, whatever the API key: keep ``--host`` at loopback or in
a private network. The key for the other routes is read from RLTOOLKIT_SERVER_KEY, here and in the trainer.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from rltoolkit.command_line import check_choices, is_verbose, prepare, report_errors, say

if TYPE_CHECKING:
    from rltoolkit.run.run import Run


def main() -> None:
    """Command line. Exits as the server does; 0 after a signal."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: loopback)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    arguments, overrides = parser.parse_known_args(prepare(sys.argv[1:]))
    with report_errors():
        from rltoolkit.run import compose

        check_choices(overrides)
        status = serve(compose.load(*overrides), arguments.host, arguments.port)
    sys.exit(status)


def serve(run: Run, host: str, port: int) -> int:
    """Make the run's model, serve it until the server ends or a signal comes. Returns the exit status.

    Raises:
        ConfigError: the run's engine is not vLLM's, or its model cannot be had.
    """
    import torch

    from rltoolkit.component import label
    from rltoolkit.errors import ConfigError
    from rltoolkit.rollout_engine._server.start import command, environment
    from rltoolkit.rollout_engine._settings import VLLMSettings
    from rltoolkit.training.loading import load_model

    spec = run.components.rollout_engine
    if not isinstance(spec, VLLMSettings):
        raise ConfigError(f"{label(spec)}: only vLLM can be served; leave rollout_engine out, or choose vllm or vllm_server")
    words = command(spec.model_arguments(load_model(run), run.longest_row, run.config.seed), host, port)
    with tempfile.TemporaryFile() as said:  # libraries talk when they start and end; shown where the server ends by itself
        output = None if is_verbose() else said
        server = subprocess.Popen(
            words,
            env=environment(on_gpu=torch.cuda.is_available(), verbose=is_verbose()),
            start_new_session=True,  # Ctrl-C reaches the server once, through us
            stdout=output,
            stderr=output,
        )
        status = _attend(server, host, port)
        if status:
            said.seek(0)
            sys.stderr.buffer.write(said.read()[-20_000:])
    return status


def _attend(server: subprocess.Popen[bytes], host: str, port: int) -> int:
    """Say when the server is ready, pass signals on, wait for its end. Returns the exit status."""
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        server.terminate()

    signal.signal(signal.SIGINT, end)
    if (
        signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    ):  # a batch job ignores it: its trainers get it, too, and need us meanwhile
        signal.signal(signal.SIGTERM, end)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    say(f"starting a server at {url}")
    if _healthy(server, url):
        say(f"ready: rollout_engine=vllm_server 'rollout_engine.urls=[{url}]'")
    status = server.wait()
    if received:
        say("ended")
        return 0
    say(f"error: the server at {url} ended by itself, exit status {status}")
    return 1


def _healthy(server: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until the server answers; False where it ended before."""
    import httpx2

    while server.poll() is None:
        try:
            if httpx2.get(f"{url}/health", timeout=5).is_success:
                return True
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    return False


if __name__ == "__main__":
    main()
