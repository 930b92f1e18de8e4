"""Several servers with the same weights: who samples what, who is lost, who comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine._parity import StaleWeights
from rltoolkit.rollout_engine._server.server import UNLABELLED, Gone, Label, Refused, Server, is_trainer_running
from rltoolkit.rollout_engine.base import EngineDied

if TYPE_CHECKING:
    from rltoolkit.weight_transfer.base import Delivery

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0
"""seconds between two looks at a server"""


class Fleet:
    """Lives in an event loop; every method but the constructor is called there.

    Args:
        urls: the servers' addresses.
        owner: this trainer, the same name on all its ranks.
        is_first: whether this rank delivers weights; the others wait for it.
        settings: what every server must be like, by the names of vLLM's flags.
        timeout: seconds without an answer after which a server counts as gone.
        transfer_timeout: seconds that a server may take for a delivery.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        owner: str,
        is_first: bool,
        settings: Mapping[str, Any],
        timeout: float,
        transfer_timeout: float,
    ) -> None:
        self._urls, self._owner, self._is_first, self._settings = urls, owner, is_first, settings
        self._timeout, self._transfer_timeout = timeout, transfer_timeout
        self.servers: list[Server] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._label = Label(owner, 0)
        self._delivery: Delivery | None = None

    async def open(self, slots: int) -> None:
        """Check every server; ``slots`` is how many requests each is given at the same time.

        Raises:
            ConfigError: one does not answer, does not fit the run, or serves another trainer.
        """
        self.servers = [Server(url, timeout=self._timeout, slots=slots) for url in self._urls]
        for server in self.servers:
            try:
                await self._require_fit(server)
            except Gone as gone:
                raise ConfigError(f"rollout_engine.urls: {gone}; python -m rltoolkit.serve starts a server") from gone

    async def watch(self) -> None:
        """From now on look after the servers in the background."""
        self._watchers = [asyncio.create_task(self._watch(server)) for server in self.servers]

    async def close(self) -> None:
        """Let the servers go: the next trainer may have them."""
        for watcher in self._watchers:
            watcher.cancel()
        for server in self.servers:
            with suppress(Gone, TimeoutError):
                async with asyncio.timeout(2):
                    if self._is_first and (await server.weights()).startswith(self._owner):
                        await server.control("/update_weight_version", json={"new_version": "free"})
            await server.close()

    async def hand_over(self, delivery: Delivery | None, version: int) -> None:
        """Give all servers in use new weights; those that are lost get them when they come back. Ranks but the first only wait.

        Raises:
            RunFailed: a server cannot take them.
            StaleWeights: somebody else has replaced a server's weights.
            EngineDied: no server is left.
        """
        self._delivery, self._label = delivery, Label(self._owner, version)
        await asyncio.gather(*(self._hand_over(server) for server in self.servers if not server.lost.done()))
        self._in_use()

    async def ask(self, key: int, request: Mapping[str, Any]) -> Any:
        """A server's reply to vLLM's GenerateRequest; where one is lost, another's. ``key`` chooses among them.

        Raises:
            StaleWeights: the reply was sampled with other weights than those handed over.
            EngineDied: no server is left.
        """
        while True:
            servers = self._in_use()
            server = servers[key % len(servers)]
            async with server.slots:
                if not server.lost.done():
                    reply = await self._ask(server, request)
                    if reply is not None:
                        return reply

    async def ask_each(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The replies of all servers in use, by address. Raises as ``ask`` does."""
        servers = self._in_use()
        replies = await asyncio.gather(*(self._ask(server, request) for server in servers))
        self._in_use()
        return {server.url: reply for server, reply in zip(servers, replies, strict=True) if reply is not None}

    async def _ask(self, server: Server, request: Mapping[str, Any]) -> Any | None:
        """The reply, sampled with our weights from the first token to the last; None where the server was lost or paused meanwhile."""
        try:
            reply = await server.generate(request)
            versions = {span["version"] for choice in reply["choices"] for span in choice["weight_versions"] or ()}
            complete = all(choice["finish_reason"] in ("stop", "length") for choice in reply["choices"])
            if complete and versions == {server.label}:
                return reply
            await server.require_label()
        except Gone as gone:
            self._lose(server, gone)
            return None
        if versions - {server.label}:
            raise StaleWeights(
                f"{server.url} has sampled with the weights {', '.join(sorted(versions))} instead of {server.label}"
            )
        return None  # another rank paused it to give it weights

    def _in_use(self) -> list[Server]:
        for server in self.servers:
            if server.lost.done() and not isinstance(server.lost.result(), Gone):
                raise server.lost.result()
        servers = [server for server in self.servers if not server.lost.done()]
        if not servers:
            reasons = "; ".join(str(server.lost.result()) for server in self.servers)
            raise EngineDied(f"rollout_engine=vllm_server: no server is left: {reasons}")
        return servers

    def _lose(self, server: Server, reason: Exception) -> None:
        if not server.lost.done():
            server.lost.set_result(reason)
            if isinstance(reason, Gone):
                log.warning("%s; what it was sampling (weights version %d) is sampled elsewhere", reason, self._label.version)

    async def _hand_over(self, server: Server) -> None:
        async with server.changing:
            try:
                if self._is_first:
                    if server.label != UNLABELLED:
                        await server.require_label()
                    await self._deliver(server)
                else:
                    await self._await_delivery(server)
            except Gone as gone:
                self._lose(server, gone)

    async def _deliver(self, server: Server) -> None:
        if self._delivery is not None:
            await server.take(self._delivery, str(self._label), self._transfer_timeout)

    async def _await_delivery(self, server: Server) -> None:
        server.label = str(self._label)
        try:
            async with asyncio.timeout(self._transfer_timeout):
                while (found := await server.weights()) != server.label:
                    if is_trainer_running(found) and not found.startswith(self._owner):
                        await server.require_label()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Gone(
                f"the run's first rank has not given {server.url} the weights {server.label} (weight_transfer.timeout)"
            ) from None

    async def _watch(self, server: Server) -> None:
        """Look at a server every few seconds: one that hangs or was taken away is lost, one that is back gets the current weights."""
        while True:
            await asyncio.sleep(min(LONGEST_PAUSE, self._timeout / 4))
            async with server.changing:
                try:
                    if server.lost.done():
                        await self._take_back(server)
                    else:
                        await server.require_label()
                except (Gone, StaleWeights) as reason:
                    self._lose(server, reason)
                except (ConfigError, RunFailed, Refused) as reason:  # it is there again, but cannot be used
                    log.warning("%s", reason)

    async def _take_back(self, server: Server) -> None:
        await self._require_fit(server)
        await (self._deliver(server) if self._is_first else server.require_label())
        server.lost = asyncio.get_running_loop().create_future()
        log.warning("%s is back and has the weights of version %d", server.url, self._label.version)

    async def _require_fit(self, server: Server) -> None:
        await server.require_settings(self._settings)
        found = await server.weights()
        if is_trainer_running(found) and not found.startswith(self._owner):
            raise ConfigError(
                f"rollout_engine.urls={server.url}: it serves another trainer that is running ({found}); a server serves one"
            )
        await server.require_tokens()
