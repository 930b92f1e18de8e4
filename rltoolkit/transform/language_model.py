"""The language model that rewrites and solves: a protocol, and an OpenAI-compatible endpoint.

Config: ``model=endpoint model.base_url=http://localhost:8000/v1 model.name=NAME``; ``engine_model.py`` has the toolkit's own.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rltoolkit.component import check
from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine.base import Sampling

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class RequestRefused(Exception):
    """The model will not answer this request, however often it is asked; the message says why."""


class ModelUnavailable(Exception):
    """The model did not answer this time, after all retries; another time it may."""


class LanguageModel(Protocol):
    """One prompt, one reply."""

    async def reply(self, prompt: str, seed: int) -> str:
        """What the model says to one message of the user; another ``seed`` draws another reply.

        Raises:
            RequestRefused: this prompt cannot be answered, for instance because it is too long.
            ModelUnavailable: no answer this time.
            RunFailed: no prompt can be answered.
        """
        ...

    async def close(self) -> None:
        """Let go of connections or processes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Chat completions of any server that speaks OpenAI's protocol.

    Args:
        name: the model, by the server's name.
        base_url: of the server, up to and with ``/v1``; empty: OpenAI's own.
        api_key_variable: the environment variable that holds the key; servers of one's own need none.
        timeout: seconds until a request counts as failed.
        max_retries: further tries of a failed request; the client waits longer before each, or as long as the server says.
    """

    section: ClassVar[str] = "model"

    name: str
    base_url: str = ""
    api_key_variable: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    max_retries: int = 6

    def __post_init__(self) -> None:
        check(self, "timeout", self.timeout > 0, "above 0 (seconds)")
        check(self, "max_retries", self.max_retries >= 0, "at least 0")

    def connect(self, sampling: Sampling, concurrency: int) -> EndpointModel:
        """A client with at most ``concurrency`` requests under way. Raises ConfigError without a key for OpenAI's own server."""
        from openai import AsyncOpenAI

        key = os.environ.get(self.api_key_variable)
        if not key and not self.base_url:
            raise ConfigError(
                f"model.api_key_variable={self.api_key_variable}: not set, and model.base_url names no other server"
            )
        client = AsyncOpenAI(
            api_key=key or "none", base_url=self.base_url or None, timeout=self.timeout, max_retries=self.max_retries
        )
        return EndpointModel(self, client, sampling, asyncio.Semaphore(concurrency))


class EndpointModel:
    """See ``LanguageModel``."""

    def __init__(self, endpoint: Endpoint, client: AsyncOpenAI, sampling: Sampling, slots: asyncio.Semaphore) -> None:
        self._endpoint, self._client, self._sampling, self._slots = endpoint, client, sampling, slots

    async def reply(self, prompt: str, seed: int) -> str:
        """See ``LanguageModel``."""
        import openai

        asked: Any = [{"role": "user", "content": prompt}]
        try:
            async with self._slots:
                completion = await self._client.chat.completions.create(
                    model=self._endpoint.name, messages=asked, temperature=self._sampling.temperature, top_p=self._sampling.top_p,
                    max_tokens=self._sampling.max_new_tokens, seed=seed,
                )  # fmt: skip
            return str(completion.choices[0].message.content or "")
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            where = self._endpoint.base_url or "OpenAI's own server"
            raise RunFailed(f"model.name={self._endpoint.name} at {where} cannot be asked: {error}") from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise RequestRefused(str(error)) from error
        except openai.OpenAIError as error:
            raise ModelUnavailable(str(error)) from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:  # JSON, but of another shape, or none
            raise ModelUnavailable(f"no chat completion: {error!r}") from error

    async def close(self) -> None:
        """See ``LanguageModel``."""
        await self._client.close()
