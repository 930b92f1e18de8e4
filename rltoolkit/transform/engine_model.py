"""The toolkit's own engines as the language model: any ``model=``, sampled by any ``rollout_engine=``.

Config: ``model=smollm2_135m rollout_engine=transformers``.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rltoolkit.policy.loading import encode, load_tokenizer
from rltoolkit.rollout_batch import text_list
from rltoolkit.rollout_engine.base import RolloutEngine, RolloutEngineSpec, Sampling
from rltoolkit.transform.language_model import RequestRefused

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase


class EngineModel:
    """See ``LanguageModel``. What is asked while the engine samples is sampled next, all at once.

    Args:
        spec: the engine's settings.
        model_path: a Hugging Face directory.
        chat: whether prompts go through the chat template.
        sampling: of every reply.
        max_prompt_tokens: longer prompts are refused.
    """

    def __init__(
        self, spec: RolloutEngineSpec, model_path: Path, *, chat: bool, sampling: Sampling, max_prompt_tokens: int
    ) -> None:
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(model_path)
        self._chat, self._sampling, self._max_prompt_tokens = chat, sampling, max_prompt_tokens
        self._engine: RolloutEngine = spec(model_path=model_path, max_length=max_prompt_tokens + sampling.max_new_tokens, seed=0)
        self._thread = ThreadPoolExecutor(1)  # an engine belongs to one thread
        self._waiting: list[tuple[list[int], int, asyncio.Future[str]]] = []
        self._sampler: asyncio.Task[None] | None = None

    async def reply(self, prompt: str, seed: int) -> str:
        """See ``LanguageModel``."""
        tokens = encode(self._tokenizer, [("user", prompt)], self._chat)
        if not 0 < len(tokens) <= self._max_prompt_tokens:
            raise RequestRefused(f"the prompt has {len(tokens)} tokens, max_prompt_tokens={self._max_prompt_tokens}")
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, seed, answered))
        if self._sampler is None or self._sampler.done():
            self._sampler = asyncio.create_task(self._sample())
        return await answered

    async def close(self) -> None:
        """See ``LanguageModel``."""
        self._thread.shutdown()
        self._engine.close()

    async def _sample(self) -> None:
        while self._waiting:
            await asyncio.sleep(0.01)  # tasks that were answered together ask again together
            asked, self._waiting = self._waiting, []
            try:
                texts = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._generate, [tokens for tokens, _, _ in asked], [seed for _, seed, _ in asked]
                )
            except Exception as error:  # whoever asked must not wait for ever
                for _, _, answered in asked:
                    answered.set_exception(error)
                continue
            for (_, _, answered), text in zip(asked, texts, strict=True):
                if not answered.done():  # its task may have been cancelled
                    answered.set_result(text)

    def _generate(self, prompts: list[list[int]], seeds: list[int]) -> list[str]:
        return text_list(self._engine.generate(prompts, 1, self._sampling, seeds), "response_text")
