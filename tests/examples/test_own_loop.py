"""The loop of one's own computes what DAPO says, breaks when it is broken, and runs."""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from rltoolkit.collector import EncodedProblem, PromptStream
from rltoolkit.policy.policy import TokenStatistics
from rltoolkit.prompt_sampler import Sequential
from rltoolkit.rollout_batch import rows, text_entry, with_entries

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"
SOURCE = EXAMPLE.read_text()

SHAPERS = "reward_shapers=[OverlongFiltering(), SoftOverlongPunishment(max_length=RESPONSE_TOKENS, cache_length=4)]"
RATIOS = [1.0, 1.4, 1.4, 1.4]  # of the new to the old probability of every token, one for each response of the kept group
LENGTHS = [2, 3, 5, 16]


class ScriptedEngine:
    """Samples what is written down: group after group [1, G], in the order of the prompts."""

    def __init__(self, script):
        self.script, self.submitted = script, []

    @contextmanager
    def stream(self, group_size, sampling):
        yield self

    def submit(self, keys, prompts, seeds, first=0):
        self.submitted += keys

    def next_finished(self, timeout=None):
        key = self.submitted.pop(0)
        return [key], self.script[key].clone()

    def sleep(self):
        pass


class Shifted(torch.nn.Module):
    """A policy that gives every token the log-prob -0.5 + shift."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, mask):
        log_probs = torch.where(mask, -0.5 + self.shift, 0.0)
        return TokenStatistics(log_probs, torch.zeros_like(log_probs))


@pytest.fixture
def scripted(make_rollouts):
    """Two groups: one all wrong, one with two right answers, a wrong one and one that the limit of 16 tokens cut off."""

    def group(texts, lengths, ratios):
        # the verifier gives the rewards; what make_rollouts is told of them here is overwritten
        rollouts = make_rollouts(reward=[[0.0] * 4], response_length=[lengths], truncated=[[length == 16 for length in lengths]])
        old_log_probs = -0.5 - torch.tensor(ratios).log()[None, :, None] * rollouts["response_mask"]
        return with_entries(rollouts, rollout_log_probs=old_log_probs, response_text=text_entry([texts]))

    def make(filtered_ratios=(1.0, 1.0, 1.0, 1.0), truncated_ratio=RATIOS[3]):
        return [
            group(["=9", "=9", "=9", "=9"], [2, 2, 2, 13], list(filtered_ratios)),
            group(["=8", "=8", "=9", "=9"], LENGTHS, [*RATIOS[:3], truncated_ratio]),
        ]

    return make


def one_step(source, script):
    """One rollout step of one kept group and one update with a learning rate of 1: (loss, the policy's shift, groups sampled)."""
    names = {"__name__": "own_loop"}
    exec(source, names)
    problems = [EncodedProblem(tokens=[0, 0], answer="8", index=row) for row in range(2)]
    prompts = PromptStream(problems, Sequential(), seed=0)
    collected = names["dapo_collector"](ScriptedEngine(script), prompts, prompts_per_step=1, group_size=4).collect()
    policy = Shifted()
    loss = names["update"](policy, torch.optim.SGD(policy.parameters(), lr=1.0), rows(collected.rollouts))
    return loss, policy.shift.item(), len(collected.sampled)


def is_dapo(source, script):
    # The first group is all wrong: filtered, so a second one is sampled. Its rewards are +1, +1, -1 and, cut off at the limit,
    # -1 - 1 = -2: mean -0.25, deviations 1.25, 1.25, -0.75, -1.75, their squares add up to 6.75, so the standard deviation is
    # sqrt(6.75 / 3) = 1.5 and the advantages are 5/6, 5/6, -1/2, -7/6. The last response trains no token; 2 + 3 + 5 = 10 tokens do.
    #   2 tokens, ratio 1:                      loss -5/6          gradient -5/6
    #   3 tokens, ratio 1.4, clipped at 1.28:   loss -5/6 * 1.28   gradient 0
    #   5 tokens, ratio 1.4, A < 0, not clipped: loss 1/2 * 1.4    gradient 1/2 * 1.4
    loss = (2 * -5 / 6 + 3 * -5 / 6 * 1.28 + 5 * 0.7) / 10  # -0.13667
    gradient = (2 * -5 / 6 + 5 * 0.7) / 10  # 0.18333, below the gradient clip of 1
    found = one_step(source, script)
    return found == (pytest.approx(loss, abs=1e-6), pytest.approx(-gradient, abs=1e-6), 2)


def test_one_step_is_dapo_by_hand(scripted):
    assert is_dapo(SOURCE, scripted())


def test_the_filtered_group_and_the_tokens_of_the_truncated_response_have_no_influence(scripted):
    expected = one_step(SOURCE, scripted())
    assert one_step(SOURCE, scripted(filtered_ratios=(0.5, 2.0, 3.0, 0.1))) == expected
    assert one_step(SOURCE, scripted(truncated_ratio=0.3)) == expected


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sampler_filters=[DynamicSampling()]", "sampler_filters=[]"),
        (SHAPERS, "reward_shapers=[]"),
        ("OverlongFiltering(), Soft", "Soft"),
        (", SoftOverlongPunishment(max_length=RESPONSE_TOKENS, cache_length=4)", ""),
        ("loss.backward()", "(-loss).backward()"),
        ("loss.backward()", "(0 * loss).backward()"),
        ('advantages=batch["advantage"]', 'advantages=2 * batch["advantage"]'),
        ('mask = batch["loss_mask"]', 'mask = batch["response_mask"]'),
        ("epsilon_high=0.28", "epsilon_high=0.2"),
        ("loss_aggregator=TokenMean()", "loss_aggregator=__import__('rltoolkit.loss_aggregator').loss_aggregator.SequenceMean()"),
    ],
)
def test_a_broken_loop_is_not_dapo(scripted, right, wrong):
    assert SOURCE.count(right) == 1
    assert not is_dapo(SOURCE.replace(right, wrong), scripted())


def test_it_learns_and_loads_no_framework(tmp_path):
    probe = f"""if True:
        import runpy, sys
        runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
        print([name for name in ("hydra", "omegaconf", "lightning", "torchrl", "vllm") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=tmp_path, check=True)
    *_, summary, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    first, last = map(float, re.findall(r"([\d.]+)%", summary))
    # of some 900 and 500 responses: the standard error of the difference is about 2 percentage points
    assert last > first + 6
