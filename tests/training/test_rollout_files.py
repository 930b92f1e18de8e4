"""rollouts/: what a reader finds there of a real run, and after a run that was stopped."""

import json
import re

import pytest
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

import rltoolkit
from rltoolkit.report.viewer import read_rollouts
from rltoolkit.training.rollout_files import RolloutFiles, token_texts


@pytest.fixture
def folder(tiny_run, process_group, tmp_path):
    """Two rollout steps of 4 prompts x 2 responses, two optimizer steps each; a filter keeps groups with both verdicts."""
    run = tiny_run(
        "trainer.max_steps=4", "sampler_filter=[dynamic_sampling]", "reward_shaper=[soft_overlong_punishment]", "cache_length=3",
        "optimizer.learning_rate=0.05", "collector.max_generation_batches=20",
    )  # fmt: skip
    rltoolkit.train(run, tmp_path)
    return tmp_path


def test_every_response_is_there_with_its_tokens_its_reward_and_its_update(folder):
    responses = read_rollouts(folder)
    kept = [each for each in responses if each.fate == "kept"]
    assert [sum(each.rollout_step == step for each in kept) for step in (1, 2)] == [8, 8]
    for each in kept:
        assert each.response_length == len(each.tokens) == len(each.log_probs) == len(each.ratio) == len(each.entropy)
        spoken = re.sub(r"<\w+>|#$", "", "".join(each.tokens))  # the text leaves special tokens and the end of the sequence out
        assert spoken == each.response
        # 6 tokens at most, the last 3 of them punished: (6 - 3 - length) / 3
        punished = min(0.0, (3 - each.response_length) / 3)
        assert each.reward_parts["EvenLength"] == (1 if each.correct else -1)
        assert each.reward_parts.get("soft_overlong_punishment", 0.0) == pytest.approx(punished, abs=1e-3)
        assert sum(each.reward_parts.values()) == pytest.approx(each.reward, abs=1e-3)
        # the first optimizer step of a rollout step trains the policy that sampled, the second one a policy that has moved
        first = 2 * each.rollout_step - 1
        assert each.optimizer_step in (first, first + 1)
        assert (each.ratio == pytest.approx([1] * len(each.ratio), abs=1e-3)) == (each.optimizer_step == first)
    assert any(clip for each in kept for clip in each.clipped)

    rejected = [each for each in responses if each.fate != "kept"]
    assert rejected
    for each in rejected:
        group = [other for other in rejected if (other.rollout_step, other.group) == (each.rollout_step, each.group)]
        assert {other.correct for other in group} == {each.fate == "all_correct"}
        assert (each.optimizer_step, each.advantage, each.ratio) == (None, None, [])
        assert len(each.tokens) == each.response_length


def test_a_continued_run_drops_what_it_will_write_again(tmp_path):
    def write(name, *lines):
        (tmp_path / "rollouts").mkdir(exist_ok=True)
        (tmp_path / "rollouts" / name).write_text("".join(lines))

    def update(optimizer_step):
        return json.dumps({"row": 0, "optimizer_step": optimizer_step}) + "\n"

    write("step_00001.jsonl", "{}\n")
    write("updates_00001.jsonl", update(2))
    write("step_00002.jsonl", "{}\n")
    write("updates_00002.jsonl", update(3), update(4), '{"row": 1, "optim')  # killed while it wrote
    write("step_00003.jsonl", "{}\n")
    write("updates_00003.jsonl", update(5))
    # the checkpoint is of optimizer step 3, inside rollout step 2
    RolloutFiles(tmp_path, every=1, tokenizer=None).open(optimizer_step=3, rollout_step=2)
    assert {file.name: file.read_text() for file in (tmp_path / "rollouts").iterdir()} == {
        "step_00001.jsonl": "{}\n",
        "updates_00001.jsonl": update(2),
        "step_00002.jsonl": "{}\n",
        "updates_00002.jsonl": update(3),
    }


def test_a_character_of_several_tokens_belongs_to_the_last_of_them():
    alphabet = sorted(ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    bytes_only.pre_tokenizer, bytes_only.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only)
    ids = tokenizer("a é €\n")["input_ids"]
    # one byte each for "a", " ", "\n", two for "é", three for "€"
    assert token_texts(tokenizer, ids) == ["a", " ", "", "é", " ", "", "", "€", "\n"]
    assert token_texts(tokenizer, ids[:-2])[-2:] == ["", "\N{REPLACEMENT CHARACTER}"]  # cut off inside the euro sign
