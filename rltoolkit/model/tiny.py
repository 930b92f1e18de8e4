"""Tiny: a 152,704-parameter Qwen2-architecture model, warm-started on this machine to do arithmetic badly.

It answers ``task=integer_arithmetic`` at once about seven times in eight, and is mostly wrong; one time in eight it calculates step
by step, rambles, and is more often right where it comes to an end. Reinforcement learning finds the second way.

Made on first use, in minutes, and cached. Source: none. Config: ``model=tiny``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.arithmetic import ALPHABET, END
from rltoolkit.component import check, follows
from rltoolkit.model._cache import cached_directory, save_weights
from rltoolkit.model._warm_start import Phase, Problems, train
from rltoolkit.policy.loading import quiet_transformers
from rltoolkit.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2Config

_FORMAT = 3  # raise it when what is made changes, so that no cached model of before is taken for it
_CONTEXT_LENGTH = 128
_SKILL_RAMBLING = 0.5  # at most; the other scratchpads of the first phase are clean, so that it learns to go on
_PADDING, _UNKNOWN = "<pad>", "<unk>"


@register("model", "tiny")
@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Architecture and warm start.

    Args:
        hidden_size: width; divisible by num_heads.
        num_layers: decoder layers.
        num_heads: attention heads.
        intermediate_size: width of the SwiGLU layer.
        skill_steps: optimizer steps of the warm start's first phase; 0 leaves it out.
        habit_steps: optimizer steps of its second phase; 0 leaves it out.
        direct_prior: how often the model shall answer directly after the second phase.
        scratchpad_prior: how often it shall begin a scratchpad; what is left is junk.
        rambling: the share of scratchpads that repeat a step, in the second phase.
        persistence: a rambling scratchpad repeats its step once more with this probability, each time.
        max_response: characters at which demonstrations are cut off: the response limit to be trained with.
        max_operands, max_operand, limit: the problems to learn from, as in ``task=integer_arithmetic``.
        warm_start_seed: makes the weights; None takes the run's seed.
    """

    chat: ClassVar[bool] = False

    hidden_size: int = 64
    num_layers: int = 3
    num_heads: int = 2
    intermediate_size: int = 176
    skill_steps: int = 1500
    habit_steps: int = 250
    direct_prior: float = 0.877
    scratchpad_prior: float = 0.12
    rambling: float = 0.8
    persistence: float = 0.65
    max_response: int = follows("sampling.max_new_tokens", 64)
    max_operands: int = 6
    max_operand: int = 12
    limit: int = 50
    warm_start_seed: int | None = None

    def __post_init__(self) -> None:
        check(self, "num_layers", self.num_layers >= 1, "at least 1")
        check(self, "num_heads", self.num_heads >= 1, "at least 1")
        divisor = 2 * self.num_heads  # rotary embeddings turn pairs of dimensions
        check(
            self,
            "hidden_size",
            self.hidden_size >= 1 and self.hidden_size % divisor == 0,
            f"a multiple of 2 * num_heads = {divisor}",
        )
        check(self, "intermediate_size", self.intermediate_size >= 1, "at least 1")
        check(self, "skill_steps", self.skill_steps >= 0, "at least 0")
        check(self, "habit_steps", self.habit_steps >= 0, "at least 0")
        check(self, "direct_prior", 0 <= self.direct_prior <= 1, "in [0, 1]")
        room = round(1 - self.direct_prior, 9)  # 1 - 0.9 is less than 0.1
        check(self, "scratchpad_prior", 0 <= self.scratchpad_prior <= room, f"in [0, 1 - direct_prior = {room:g}]")
        check(self, "rambling", 0 <= self.rambling <= 1, "in [0, 1]")
        check(self, "persistence", 0 <= self.persistence < 1, "in [0, 1)")
        check(self, "max_response", self.max_response >= 1, "at least 1")
        check(self, "max_operands", self.max_operands >= 2, "at least 2")
        check(self, "max_operand", self.max_operand >= 1, "at least 1")
        check(self, "limit", self.limit >= 2 * self.max_operand, f"at least 2 * max_operand = {2 * self.max_operand}")

    def context_length(self) -> int:
        """Tokens."""
        return _CONTEXT_LENGTH

    def architecture(self) -> Qwen2Config:
        """A Qwen2 with as many tokens as there are characters."""
        tokenizer = character_tokenizer()
        return quiet_transformers().Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=_CONTEXT_LENGTH,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )

    def phases(self) -> tuple[Phase, Phase]:
        """Skill, then habit."""
        priors = {"direct": self.direct_prior, "scratchpad": self.scratchpad_prior}
        priors["junk"] = max(0.0, 1 - sum(priors.values()))
        problems = Problems(max_operands=self.max_operands, max_operand=self.max_operand, limit=self.limit)
        return (
            Phase(
                name="skill",
                steps=self.skill_steps,
                learning_rate=3e-3,
                shares={"direct": 0.15, "scratchpad": 0.75, "junk": 0.10},
                rambling=min(_SKILL_RAMBLING, self.rambling),
                persistence=self.persistence,
                problems=problems,
            ),
            Phase(
                name="habit",
                steps=self.habit_steps,
                learning_rate=1e-3,
                shares={"direct": 0.30, "scratchpad": 0.69, "junk": 0.01},
                priors=priors,
                rambling=self.rambling,
                persistence=self.persistence,
                problems=problems,
            ),
        )

    def __call__(self, seed: int) -> Path:
        """The directory of the warm-started model, made on first use with a progress bar."""
        seed = seed if self.warm_start_seed is None else self.warm_start_seed
        identity = {**asdict(self), "warm_start_seed": seed, "format": _FORMAT}
        name = "tiny" if self.habit_steps else "tiny_skill"
        return cached_directory(name, identity, lambda directory: self._make(directory, seed))

    def _make(self, directory: Path, seed: int) -> None:
        from rich.console import Console
        from rich.progress import track

        from rltoolkit.policy.policy import PolicyModel

        tokenizer = character_tokenizer()
        causal_lm = self._skilled(seed) if self.skill_steps and self.habit_steps else self._untrained(seed)
        policy = PolicyModel(causal_lm, layout="padded")  # hardly any two prompts are equal
        phase = self.phases()[1 if self.habit_steps else 0]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # faster for matrices this small, and the result is the same on any number of cores
        try:
            losses = train(policy, tokenizer.get_vocab(), phase, max_response=self.max_response, seed=seed)
            # a notebook's bar would take ipywidgets: a line at the end is enough there
            console = Console(force_jupyter=False, force_terminal=sys.stdout.isatty())
            for _ in track(losses, f"Warm-starting model=tiny ({phase.name})", total=phase.steps, console=console):
                pass
        finally:
            torch.set_num_threads(threads)
        save_weights(policy.causal_lm, directory)
        tokenizer.save_pretrained(directory)

    def _skilled(self, seed: int) -> torch.nn.Module:
        """After the first phase: a directory of its own, which models share that differ in their habits alone."""
        skill = replace(
            self,
            habit_steps=0,
            direct_prior=Tiny.direct_prior,
            scratchpad_prior=Tiny.scratchpad_prior,
            rambling=min(_SKILL_RAMBLING, self.rambling),
            warm_start_seed=seed,
        )
        return quiet_transformers().Qwen2ForCausalLM.from_pretrained(skill(seed))

    def _untrained(self, seed: int) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):  # the run's own random state must not depend on whether the cache was warm
            torch.manual_seed(seed)
            return quiet_transformers().Qwen2ForCausalLM(self.architecture())


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character of the task, and the end-of-sequence sign."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate([_PADDING, _UNKNOWN, *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return quiet_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=_PADDING,
        unk_token=_UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=_CONTEXT_LENGTH,
    )
