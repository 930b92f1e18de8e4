"""A 0.5B model's updates on one GPU: layouts on shapes that are new and on the same again, and the head against full logits.

    python benchmarks/on_gpu.py

Qwen2.5-0.5B's sizes with random weights in bfloat16. A batch is 8 groups of 8 responses to prompts of 100 to 500 tokens; lengths are
log-normal, 16 to 1,024 tokens. Times are those of forward and backward over the whole batch, in micro-batches of 16,384 tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from rltoolkit.policy.attention import use_varlen
from rltoolkit.policy.head import head_statistics
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.training.micro_batches import crop, plan_micro_batches

VOCABULARY, WIDTH, BUDGET = 151_936, 896, 16_384
GROUPS, GROUP_SIZE = 8, 8
BATCHES = 3
REPETITIONS = 5
LAYOUTS = {
    "padded, sdpa": ("padded", True),
    "joint, sdpa": ("joint", True),
    "joint, sdpa without cuDNN": ("joint", False),
    "packed, torch's varlen": ("packed", True),
}


def main() -> None:
    """Print both tables."""
    print(torch.cuda.get_device_name(), torch.__version__)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("cuda"):
        causal_lm = Qwen2ForCausalLM(config).bfloat16()
    for name, (layout, cudnn) in LAYOUTS.items():
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        if layout == "packed":
            use_varlen(causal_lm)
        time_layout(name, PolicyModel(causal_lm, layout=layout))
    del causal_lm
    time_heads()


def time_layout(name: str, policy: PolicyModel) -> None:
    """Seconds of each batch the first time, and once more."""
    torch.cuda.empty_cache()
    update(policy, rows(seed=1))
    batches = [rows(seed=seed) for seed in range(2, 2 + BATCHES)]
    seconds, gib = zip(*(measured(lambda batch=batch: update(policy, batch)) for batch in batches * 2), strict=True)
    new, again = ([round(each, 2) for each in part] for part in (seconds[:BATCHES], seconds[BATCHES:]))
    print(f"{name}: new {new}, again {again} s, {max(gib):.1f} GiB above what stood before")


def update(policy: PolicyModel, batch: TensorDict) -> None:
    """Forward and backward over a batch [N]."""
    policy.zero_grad()
    sequences = policy.layout.sequences(batch["input_ids"], batch["loss_mask"])
    (plan,) = plan_micro_batches([each.tokens for each in sequences], BUDGET, pads=policy.layout.pads)
    for part in plan:
        micro = crop(batch[torch.tensor([row for index in part for row in sequences[index].rows], device="cuda")])
        log_probs = policy(micro["input_ids"], micro["loss_mask"]).log_probs
        (log_probs * micro["advantage"].unsqueeze(-1)).sum().backward()


def rows(seed: int) -> TensorDict:
    """Random tokens; the prompt is the same within a group."""
    generator = torch.Generator().manual_seed(seed)
    count = GROUPS * GROUP_SIZE
    prompts = torch.randint(100, 500, (GROUPS,), generator=generator).repeat_interleave(GROUP_SIZE)
    responses = (torch.randn(count, generator=generator) * 0.6 + 6.0).exp().clamp(16, 1024).long()
    position = torch.arange(int((prompts + responses).max()))
    tokens = torch.randint(VOCABULARY, (count, len(position)), generator=generator)
    of_group = tokens[::GROUP_SIZE].repeat_interleave(GROUP_SIZE, 0)
    in_prompt, used = position < prompts[:, None], position < (prompts + responses)[:, None]
    mask = used & ~in_prompt
    batch = {
        "input_ids": torch.where(in_prompt, of_group, tokens) * used,
        "response_mask": mask,
        "loss_mask": mask.clone(),
        "advantage": torch.randn(count, generator=generator),
    }
    return TensorDict(batch, batch_size=[count]).to("cuda")


def time_heads() -> None:
    """Median milliseconds and memory of the head's forward and backward over 16,384 tokens, in several ways."""
    head = nn.Linear(WIDTH, VOCABULARY, bias=False, device="cuda", dtype=torch.bfloat16)
    states = torch.randn(BUDGET, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets, advantages = torch.randint(VOCABULARY, (BUDGET,), device="cuda"), torch.randn(BUDGET, device="cuda")

    def full() -> Tensor:
        log_softmax = head(states).float().log_softmax(-1)
        with torch.no_grad():
            (-(log_softmax.exp() * log_softmax).sum(-1)).mean()
        return log_softmax.gather(-1, targets.unsqueeze(-1)).squeeze(-1)

    def chunked(power: int) -> Tensor:
        return head_statistics(states, targets, head, 1.0, chunk_logits=2**power)[0]

    ways = {"full logits": full} | {f"chunks of 2**{power}": lambda power=power: chunked(power) for power in (26, 28)}
    for name, log_probs in ways.items():
        measurements = []
        for _ in range(1 + REPETITIONS):
            head.weight.grad = states.grad = None
            measurements.append(measured(lambda way=log_probs: (way() * advantages).sum().backward()))
        seconds, gib = (statistics.median(values) for values in zip(*measurements[1:], strict=True))
        print(f"head, {name}: {seconds * 1e3:.0f} ms, {gib:.2f} GiB above what stood before")


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and GiB above what stood before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, (torch.cuda.max_memory_allocated() - before) / 2**30


if __name__ == "__main__":
    main()
