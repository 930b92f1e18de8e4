"""Several servers with the same weights: who samples what, who is lost, who comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine._parity import StaleWeights
from rltoolkit.rollout_engine._server.server import INCOMPLETE, UNLABELLED, Gone, Label, Refused, Server, is_trainer_running
from rltoolkit.rollout_engine.base import EngineDied

if TYPE_CHECKING:
    from rltoolkit.weight_transfer.base import Call

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0
"""seconds between two looks at a server"""


class Fleet:
    """Lives in an event loop; every method but the constructor is called there.

    The first rank replaces weights, ``begin``, ``give`` each request of the transfer, ``finish``; the others then ``adopt`` them.

    Args:
        urls: the servers' addresses.
        owner: this trainer, the same name on all its ranks.
        is_first: whether this is the rank that replaces weights.
        settings: what every server must be like, by the names of vLLM's flags.
        timeout: seconds without an answer after which a server counts as gone.
        transfer_timeout: seconds that a server may take for one request of a transfer.
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
        self.label: Label | None = None
        """of the weights that every server in use holds"""
        self._taking: list[Server] = []
        self._again: Sequence[Call] = ()
        self._watchers: list[asyncio.Task[None]] = []

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

    async def require_tokens(self) -> None:
        """Raise ConfigError where one does not sample; one that was left in the middle of a transfer could not be asked before."""
        for server in self._in_use():
            try:
                await server.require_tokens()
            except Gone as gone:
                self._lose(server, gone)

    async def close(self) -> None:
        """Let the servers go: the next trainer may have them."""
        await self._stop_watching()
        for server in self.servers:
            with suppress(Gone, TimeoutError):
                async with asyncio.timeout(2):
                    if self._is_first and (found := await server.weights()).startswith(self._owner):
                        await server.control("/update_weight_version", json={"new_version": _unowned(found)})
            await server.close()

    # --- weights ---------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Take the servers out of use to replace their weights; those that wait for weights get them, too.

        Raises:
            StaleWeights: somebody else has replaced a server's weights.
            EngineDied: no server is left.
        """
        await self._stop_watching()
        if self.label is not None:
            await asyncio.gather(*(self._look(server) for server in self.servers if not server.lost.done()))
        self._require_ours()
        self._taking = [server for server in self.servers if server.waits or not server.lost.done()]
        for server in self._taking:
            server.take_out(Gone(f"{server.url} has not got all of its weights"))
        await self._each(lambda server: server.prepare(self._owner))

    async def give(self, call: Call) -> None:
        """Send all of them one request of the transfer; one that does not answer is left out until it is back.

        Raises:
            RunFailed: a server cannot take what is sent.
            EngineDied: no server is left.
        """
        await self._each(lambda server: server.give(call, self._transfer_timeout))

    async def finish(self, version: int, again: Sequence[Call]) -> None:
        """Use them with their new weights; ``again`` is what gives these to a server that comes back. Raises EngineDied."""
        label = Label(self._owner, version)
        await self._each(lambda server: server.release(str(label)))
        self.label, self._again = label, again
        for server in self._taking:
            server.use()
        await asyncio.gather(*map(self._look, self._taking))
        self._in_use()
        self._watch()

    async def adopt(self, version: int) -> None:
        """Go on with the weights that the first rank has given the servers. Raises EngineDied where none of them has any."""
        await self._stop_watching()
        self.label = Label(self._owner, version)
        await asyncio.gather(*map(self._adopt, self.servers))
        self._in_use()
        self._watch()

    async def _adopt(self, server: Server) -> None:
        try:
            found = await server.weights()
        except Gone as gone:
            server.take_out(gone)
        else:
            if found == str(self.label):
                server.use()
            else:
                server.take_out(Gone(f"{server.url} holds the weights {found}, not {self.label}"))

    async def _each(self, do: Callable[[Server], Awaitable[None]]) -> None:
        """Do it with all that are taking weights, at once; those that are gone take no further part."""
        if not self._taking:
            raise self._none_left()
        results = await asyncio.gather(*(do(server) for server in self._taking), return_exceptions=True)
        for server, result in zip(self._taking, results, strict=True):
            if isinstance(result, Gone):
                server.take_out(result)
                log.warning("%s; it is left out until it is back", result)
            elif isinstance(result, BaseException):
                raise result
        self._taking = [server for server, result in zip(self._taking, results, strict=True) if result is None]
        if not self._taking:
            raise self._none_left()

    # --- sampling --------------------------------------------------------------------------------------------------------

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
            if complete and versions == {str(self.label)}:
                return reply
            await self._require_label(server)
        except Gone as gone:
            self._lose(server, gone)
            return None
        if complete and versions - {str(self.label), UNLABELLED}:
            raise StaleWeights(f"{server.url} has sampled with the weights {', '.join(sorted(versions))} instead of {self.label}")
        return None  # it was given weights meanwhile

    def _require_ours(self) -> None:
        """Raise StaleWeights where somebody else has replaced a server's weights."""
        for server in self.servers:
            if server.lost.done() and not isinstance(server.lost.result(), Gone):
                raise server.lost.result()

    def _in_use(self) -> list[Server]:
        self._require_ours()
        servers = [server for server in self.servers if not server.lost.done()]
        if not servers:
            raise self._none_left()
        return servers

    def _none_left(self) -> EngineDied:
        reasons = "; ".join(str(server.lost.result()) for server in self.servers)
        return EngineDied(f"rollout_engine=vllm_server: no server is left: {reasons}")

    def _lose(self, server: Server, reason: Exception) -> None:
        if not server.lost.done():
            server.take_out(reason)
            if isinstance(reason, Gone):
                log.warning("%s; what it was sampling (weights %s) is sampled elsewhere", reason, self.label)

    # --- looking after them ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._watchers = [asyncio.create_task(self._watch_one(server)) for server in self.servers]

    async def _stop_watching(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    async def _watch_one(self, server: Server) -> None:
        """Every few seconds: is one in use still ours, and one that was lost back?"""
        while True:
            await asyncio.sleep(min(LONGEST_PAUSE, self._timeout / 4))
            if not server.lost.done():
                await self._look(server)
                continue
            try:
                await self._take_back(server)
            except Gone:
                server.waits = False
            except (ConfigError, RunFailed, Refused) as reason:  # it is there again, but cannot be used
                server.waits = False
                log.warning("%s", reason)

    async def _look(self, server: Server) -> None:
        try:
            await self._require_label(server)
        except (Gone, StaleWeights) as reason:
            self._lose(server, reason)

    async def _take_back(self, server: Server) -> None:
        await self._require_fit(server)
        if await server.weights() != str(self.label):
            if not self._is_first:
                return
            if not self._again:
                if not server.waits:
                    log.warning("%s is back and waits for the next weights", server.url)
                server.waits = True
                return
            await server.prepare(self._owner)
            for call in self._again:
                await server.give(call, self._transfer_timeout)
            await server.release(str(self.label))
        server.use()
        log.warning("%s is back and has the weights %s", server.url, self.label)

    async def _require_label(self, server: Server) -> None:
        """Raise Gone where it was started anew or lacks weights, StaleWeights where somebody else has replaced them."""
        found = await server.weights()
        if found == str(self.label):
            return
        if found.startswith(self._owner):
            if not self._is_first:
                return  # the first rank has begun to replace them
            raise Gone(f"{server.url} holds the weights {found}, not {self.label}")
        if found == UNLABELLED:
            raise Gone(f"{server.url} was started anew")
        raise StaleWeights(
            f"{server.url} holds the weights {found}, this run has given it {self.label}: another trainer uses this server. A server "
            "serves one run at a time"
        )

    async def _require_fit(self, server: Server) -> None:
        await server.require_settings(self._settings)
        found = await server.weights()
        if is_trainer_running(found) and not found.startswith(self._owner):
            raise ConfigError(
                f"rollout_engine.urls={server.url}: it serves another trainer that is running ({found}); a server serves one"
            )
        if self._is_first and not found.endswith(INCOMPLETE):  # then it is paused, too
            await server.require_tokens()


def _unowned(label: str) -> str:
    """What a server's weights are called when their trainer has gone."""
    return INCOMPLETE if label.endswith(INCOMPLETE) else "free"
