"""DAPO from top to bottom, in a training loop of your own.

    python examples/own_loop.py                 # the transformers engine; under a minute on a laptop
    python examples/own_loop.py vllm

A small transformer learns to add and subtract small numbers. The four techniques of DAPO (arXiv:2503.14476) stand where they act:
Overlong Reward Shaping and Dynamic Sampling while rollouts are collected, Clip-Higher and the Token-Level loss in the objective.
Every part is a component of the toolkit; put another one in its place, or your own object with the same call.
"""

import sys

import torch

from rltoolkit.advantage_estimator import GroupNormalized
from rltoolkit.clip_strategy import ClipHigher
from rltoolkit.collector import Collector, PromptStream, encode_problems
from rltoolkit.loss_aggregator import TokenMean, Totals
from rltoolkit.model import Tiny
from rltoolkit.objective import PolicyObjective
from rltoolkit.policy.loading import load_policy, load_tokenizer
from rltoolkit.prompt_sampler import Shuffled
from rltoolkit.reward_function import EquationAnswer
from rltoolkit.reward_shaper import OverlongFiltering, SoftOverlongPunishment
from rltoolkit.rollout_batch import rows
from rltoolkit.rollout_engine import VLLM, Sampling, Transformers
from rltoolkit.sampler_filter import DynamicSampling
from rltoolkit.task import IntegerArithmetic

PROMPT_TOKENS, RESPONSE_TOKENS = 8, 16
objective = PolicyObjective(
    clip_strategy=ClipHigher(epsilon_low=0.2, epsilon_high=0.28),  # unlikely tokens may grow further than others may shrink
    loss_aggregator=TokenMean(),  # every token of the step weighs the same, in short and in long responses
)


def dapo_collector(engine, prompts, prompts_per_step=32, group_size=8):
    """Samples, verifies, shapes and filters: each collect() gives [P, G] rollouts with advantages, ready to train on."""
    return Collector(
        engine=engine,
        prompts=prompts,
        prompts_per_step=prompts_per_step,
        group_size=group_size,
        sampling=Sampling(max_new_tokens=RESPONSE_TOKENS),
        reward_function=EquationAnswer(),  # +1 for a right answer, -1 for a wrong one
        # a response that the limit cut off does not train, and one that comes close to the limit is punished
        reward_shapers=[OverlongFiltering(), SoftOverlongPunishment(max_length=RESPONSE_TOKENS, cache_length=4)],
        sampler_filters=[DynamicSampling()],  # groups that are all right or all wrong teach nothing: sample others instead
        advantage_estimator=GroupNormalized(),  # (reward - mean of the group) / its standard deviation
    )


def update(policy, optimizer, batch):
    """One optimizer step on a mini-batch of rows [N]; returns the loss."""
    mask = batch["loss_mask"]
    log_probs = policy(batch["input_ids"], mask).log_probs
    loss = objective(
        log_probs=log_probs,
        old_log_probs=batch["rollout_log_probs"],  # under the policy that sampled: at first the ratio is 1
        rollout_log_probs=batch["rollout_log_probs"],
        advantages=batch["advantage"],
        mask=mask,
        weights=objective.loss_aggregator.weights(mask, Totals.of(mask, batch["group_index"])),
    ).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def train(engine_spec, rollout_steps=20, mini_batch_size=64, seed=0):
    """Trains; returns the accuracy of everything sampled in each rollout step."""
    # a short supervised start, 20 seconds; cached for the next time
    model_path = Tiny(skill_steps=200, habit_steps=0, max_response=RESPONSE_TOKENS)(seed)
    policy = load_policy(model_path)
    engine = engine_spec(model_path=model_path, max_length=PROMPT_TOKENS + RESPONSE_TOKENS, seed=seed)
    problems = IntegerArithmetic(max_operands=2)("train", seed)
    encoded = encode_problems(problems, load_tokenizer(model_path), chat=False, max_prompt_tokens=PROMPT_TOKENS)
    collector = dapo_collector(engine, PromptStream(encoded, Shuffled(), seed))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=0.0)
    accuracy = []
    for step in range(1, rollout_steps + 1):
        collected = collector.collect()
        for batch in rows(collected.rollouts).split(mini_batch_size):
            update(policy, optimizer, batch)
        engine.update_weights(policy.hf_weights(), version=step)
        accuracy.append(collected.sampled["correct"].float().mean().item())
        kept, generated = collected.counters.kept_groups, len(collected.sampled)
        print(f"rollout step {step:2d}: accuracy {accuracy[-1]:5.1%}, {kept} of {generated} groups kept")
    engine.close()
    print(f"accuracy {accuracy[0]:.1%} -> {accuracy[-1]:.1%}")
    return accuracy


if __name__ == "__main__":
    train(VLLM() if sys.argv[1:] == ["vllm"] else Transformers())
