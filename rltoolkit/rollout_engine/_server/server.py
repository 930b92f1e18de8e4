"""One vLLM server, over HTTP: its settings, its weights and their label, tokens in and tokens out."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import psutil

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine._server.start import KEY_VARIABLES, api_key

if TYPE_CHECKING:
    from rltoolkit.weight_transfer.base import Call

UNLABELLED = "default"
"""what vLLM calls the weights that a server was started with"""
INCOMPLETE = "incomplete"
"""the version of weights that are being replaced, or were when a transfer stopped half-way: of no use"""


class Label(NamedTuple):
    """Whose weights a server holds and which version: the server stamps it on every token that it samples."""

    owner: str
    version: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.version}"


def new_owner() -> str:
    """A name for one trainer: its machine, its process with the second at which that began, and a random part."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.0f}:{uuid.uuid4().hex[:8]}"


def is_trainer_running(label: str) -> bool:
    """Whether the trainer that has set a label still runs; False also where that was on another machine and nobody knows."""
    host, *process = label.split(":")[:3]
    if host != socket.gethostname() or len(process) < 2 or not process[0].isdigit():
        return False
    try:
        return f"{psutil.Process(int(process[0])).create_time():.0f}" == process[1]
    except psutil.NoSuchProcess:
        return False


class Gone(Exception):
    """A server that does not answer, with the reason."""


class Refused(Exception):
    """A server's answer that is an error."""

    def __init__(self, url: str, path: str, response: httpx2.Response) -> None:
        self.status = response.status_code
        try:
            answer = response.json()
            self.detail = str(answer.get("error", {}).get("message") or answer)
        except (ValueError, AttributeError):
            self.detail = response.text[:500]
        super().__init__(f"{url} answered {path} with status {self.status}: {self.detail}")


class Server:
    """A server that is in use until it is ``lost``; then it may come back.

    Args:
        url: its address.
        timeout: seconds without an answer after which it counts as gone.
        slots: requests that it is given at the same time.
    """

    def __init__(self, url: str, *, timeout: float, slots: int) -> None:
        self.url, self.timeout = url, timeout
        self.slots = asyncio.Semaphore(slots)
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """done when it is not in use, with the reason"""
        self.waits = False
        """whether it is there again, and lacks the current weights only"""
        key = api_key()
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # vLLM closes connections that are idle for 5 seconds; one taken up again at that moment would look like a dead server
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=slots, keepalive_expiry=2),
            trust_env=False,  # no proxy, and no key from elsewhere
        )

    def take_out(self, reason: Exception) -> None:
        """Use it no longer."""
        if self.lost.done():
            self.lost = asyncio.get_running_loop().create_future()
        self.lost.set_result(reason)

    def use(self) -> None:
        """Use it, or go on using it."""
        self.waits = False
        if self.lost.done():
            self.lost = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, *, timeout: float | None, once: bool = False, **content: Any) -> Any:
        """The answer to one request; without a timeout only the connection has one.

        Args:
            once: not to be asked a second time where the connection breaks.

        Raises:
            Gone: there is none.
            Refused: it is an error.
        """
        limit = httpx2.Timeout(timeout, connect=timeout or self.timeout)
        try:
            try:
                response = await self._client.request(method, path, timeout=limit, **content)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if once:
                    raise
                # The server may have closed a connection that was idle. Asking twice does no harm, and a dead server refuses.
                response = await self._client.request(method, path, timeout=limit, **content)
        except httpx2.TimeoutException:
            raise Gone(f"{self.url} did not answer {path} within {timeout or self.timeout:g} seconds") from None
        except httpx2.TransportError as error:
            raise Gone(f"{self.url} does not answer ({type(error).__name__}: {error})") from None
        if not response.is_success:
            raise Refused(self.url, path, response)
        return response.json() if response.content else None

    async def generate(self, request: Mapping[str, Any]) -> Any:
        """Tokens in, tokens out, for as long as it takes; see vLLM's GenerateRequest. Raises what ends the server's service before."""
        answer = asyncio.ensure_future(self.ask("POST", "/inference/v1/generate", timeout=None, json=request))
        try:
            await asyncio.wait({answer, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise self.lost.result()
        except Refused as refused:
            if refused.status >= 500:
                raise Gone(str(refused)) from refused
            raise RunFailed(f"rollout_engine=vllm_server: {refused}") from refused
        finally:
            answer.cancel()

    async def control(self, path: str, *, method: str = "POST", timeout: float | None = None, **content: Any) -> Any:
        """The answer of one of vLLM's control routes. Raises Gone where there is none or it is an error."""
        try:
            return await self.ask(method, path, timeout=timeout or self.timeout, **content)
        except Refused as refused:
            raise Gone(str(refused)) from refused

    async def weights(self) -> str:
        """The label of the weights that it holds. The engine behind the server answers, so silence means that either hangs."""
        return (await self.control("/weight_info", method="GET"))["weight_version"]

    async def prepare(self, owner: str) -> None:
        """Have it stop, drop whatever it was sampling, and hold weights of no version until ``release``."""
        # in this order, and back in ``release``: whatever happens in between, a server that is paused says so
        await self.control("/update_weight_version", json={"new_version": f"{owner}/{INCOMPLETE}"})
        await self.control("/pause", params={"mode": "abort"})  # empties the prefix cache, too
        await self.control("/collective_rpc", json={"method": "abandon_weight_update"})

    async def give(self, call: Call, timeout: float) -> None:
        """One request of a transfer. Raises Gone where it does not answer, RunFailed where it cannot take what is sent."""
        body = {"content": _sent(call.body), "headers": {"content-type": "application/json"}}
        try:
            await self.ask("POST", call.path, timeout=timeout, once=True, **body)
        except Refused as refused:
            raise RunFailed(
                f"{self.url} did not take the weights: {call.path}: {refused.detail}. {call.hint}".rstrip()
            ) from refused

    async def release(self, label: str) -> None:
        """Let it go on, its weights complete and of this version."""
        await self.control("/resume")
        await self.control("/update_weight_version", json={"new_version": label})

    async def require_settings(self, expected: Mapping[str, Any]) -> None:
        """Raise ConfigError, which names the flags, where the server is not as the run needs it; Gone where it does not answer."""
        found = (await self._try("/collective_rpc", {"method": "settings"}))["results"][0]
        wrong = [wanted for name, value in expected.items() if (wanted := _wanted(name, value, found.get(name)))]
        if wrong:
            raise ConfigError(f"rollout_engine.urls={self.url}: {'; '.join(wrong)}. {_ADVICE}")

    async def require_tokens(self) -> None:
        """Raise ConfigError, which names the flag, where it does not take and give tokens; Gone where it does not answer."""
        await self._try("/inference/v1/generate", {"token_ids": [0], "sampling_params": {"max_tokens": 1}})

    async def _try(self, path: str, content: Mapping[str, Any]) -> Any:
        try:
            return await self.ask("POST", path, timeout=self.timeout, json=content)
        except Refused as refused:
            raise ConfigError(f"rollout_engine.urls={self.url}: {_missing(refused)}. {_ADVICE}") from refused


async def _sent(body: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece


_ADVICE = "python -m rltoolkit.serve, with this run's overrides, starts a server that fits"


def _missing(refused: Refused) -> str:
    if refused.status == 401:
        return f"it asks for another API key than the one in {' or '.join(KEY_VARIABLES)}"
    if refused.status == 403:
        return "it was started without --enable-scale-out"
    if refused.status in (404, 405):
        return "no vLLM server, or one without control routes: it was started without VLLM_SERVER_DEV_MODE=1 in its environment"
    if "no attribute" in refused.detail:
        return "it was started without --worker-extension-cls rltoolkit.rollout_engine._vllm.server_worker.ServerWorker"
    return str(refused)


def _wanted(name: str, value: Any, found: Any) -> str | None:
    if name == "vocabulary":
        return None if found == value else f"another model: its vocabulary has {found} tokens, the run's has {value}"
    if name == "max-model-len":
        return None if found >= value else f"--max-model-len is {found}, the run needs {value}"
    return None if found == value else f"--{name} is {found}, the run needs {value}"
