"""From rollout steps to mini-batches: real engine, collector and scoring; the trainer is a number of optimizer steps."""

import signal
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from rltoolkit.collector import PromptStream
from rltoolkit.errors import ConfigError
from rltoolkit.prompt_sampler import Thompson
from rltoolkit.reward_function.base import verdict
from rltoolkit.rollout_engine import Transformers
from rltoolkit.training.data import RolloutData
from rltoolkit.training.errors import NothingToTrain
from rltoolkit.training.interrupts import Interrupts
from rltoolkit.training.loading import encode, load_model, load_problems, load_trained_policy
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.progress import display_for
from rltoolkit.training.rollout_files import RolloutFiles
from rltoolkit.training.run_log import RunLog
from rltoolkit.training.weight_sync import WeightSync


@pytest.fixture
def make_data(tiny_run, tmp_path):
    """``make_data(*overrides)``: 4 prompts x 2 responses in mini-batches of 4 rows, unless overridden."""

    def make(*overrides: str, rollout_engine=None) -> RolloutData:
        run = tiny_run("trainer.max_steps=100", *overrides)
        if rollout_engine is not None:
            run = run.replace(rollout_engine=rollout_engine)
        model_path = load_model(run)
        trainer = SimpleNamespace(global_step=0, should_stop=False, global_rank=0, world_size=1)
        module = PolicyModule(
            policy=load_trained_policy(run, model_path), objective=run.objective, optimizer=run.config.optimizer,
            warmup_optimizer_steps=0, temperature=1.0, micro_batch_tokens=1000,
        )  # fmt: skip
        module.trainer = trainer
        problems = encode(run, load_problems(run, run.components.task, "train"), model_path, "training")
        data = RolloutData(
            run=run, problems=problems, model_path=model_path, module=module,
            run_log=RunLog(tmp_path), rollout_files=RolloutFiles(tmp_path, every=0, tokenizer=None), sync=WeightSync(1e-3),
            display=display_for(Console(quiet=True), 100),
            interrupts=Interrupts(),
        )  # fmt: skip
        data.trainer = trainer
        data.setup("fit")
        return data

    return make


def contents(batch) -> list:
    """A mini-batch, to the bit."""
    return [batch[name].tolist() for name in sorted(batch.keys())]


def groups(batch) -> list[int]:
    return batch["group_index"].tolist()


def test_a_rollout_step_is_handed_out_once_and_a_prompts_responses_together(make_data):
    data = make_data()
    assert data.rollout_step_finished
    first, second = data.next_mini_batch(), data.next_mini_batch()
    assert first.batch_size == (4,)
    assert (data.rollout_step, data.rollout_step_finished) == (1, True)
    for batch in (first, second):
        assert groups(batch)[0::2] == groups(batch)[1::2]  # both rows of a group
    assert sorted(groups(first) + groups(second)) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(first["old_log_probs"] != 0, first["response_mask"])  # scored before the first update
    assert not first["scored_in_update"].any()
    data.next_mini_batch()
    assert (data.rollout_step, data.rollout_step_finished) == (2, False)


def test_where_a_group_does_not_fit_into_a_mini_batch_rows_are_dealt_one_by_one(make_data):
    data = make_data("mini_batch_size=1")
    assert sorted(groups(batch := data.next_mini_batch()) * batch.batch_size[0] for _ in range(8))[::2] == [[0], [1], [2], [3]]
    assert data.rollout_step_finished


def test_the_order_follows_from_the_seed_and_the_rollout_step_alone(make_data):
    sizes = ("prompts_per_step=16", "mini_batch_size=2")  # 16 groups, one at a time

    def orders(*overrides):
        data = make_data(*sizes, *overrides)
        return [[groups(data.next_mini_batch())[0] for _ in range(16)] for _ in range(2)]

    first, second = orders()
    assert sorted(first) == sorted(second) == list(range(16))
    assert first != second
    torch.manual_seed(99)  # of no consequence
    assert orders() == [first, second]
    assert orders("seed=1")[0] != first


def test_a_run_goes_on_in_the_middle_of_a_rollout_step_with_the_same_mini_batches(make_data):
    data, continued = make_data(), make_data()
    data.next_mini_batch()
    continued.load_state_dict(data.state_dict())
    assert (continued.rollout_step, continued.rollout_step_finished) == (1, False)
    for _ in range(3):  # the rest of this rollout step, and all of the next
        assert contents(continued.next_mini_batch()) == contents(data.next_mini_batch())
    assert continued.rollout_step == 2


def test_what_sampling_cut_off_is_cut_off_in_scoring_and_survives_a_checkpoint(make_data):
    data, continued = (make_data("sampling.top_p=0.8", "sampling.top_k=10") for _ in range(2))
    first = data.next_mini_batch()
    assert torch.equal(first["kept_counts"] > 0, first["response_mask"])
    torch.testing.assert_close(first["old_log_probs"], first["rollout_log_probs"], rtol=0, atol=1e-4)
    continued.load_state_dict(data.state_dict())
    assert contents(continued.next_mini_batch()) == contents(data.next_mini_batch())


def test_the_last_optimizer_step_ends_the_run(make_data):
    data = make_data()
    data.trainer.global_step = 99
    assert data.next_mini_batch() is not None
    data.trainer.global_step = 100
    assert data.next_mini_batch() is None
    assert data.trainer.should_stop
    assert next(iter(data.train_dataloader()), None) is None


class EveryTokenMasked:
    def __call__(self, rollouts):
        rollouts["loss_mask"] = torch.zeros_like(rollouts["loss_mask"])
        return rollouts


def test_rollout_steps_without_a_token_to_train_on_end_the_run(make_data):
    data = make_data("trainer.max_skipped_steps=2")
    data.collector.reward_shapers = [EveryTokenMasked()]  # as overlong filtering does when every response is cut off
    message = r"2 rollout steps in a row had no token to train on \(trainer\.max_skipped_steps=2\).*sampling\.max_new_tokens=6"
    with pytest.raises(NothingToTrain, match=message):  # noqa: PT012 - it takes several calls
        for _ in range(100):
            data.next_mini_batch()
    assert data.rollout_step == 2


def test_only_steps_in_a_row_count(make_data):
    data = make_data("trainer.max_skipped_steps=2")
    for _ in range(3):
        data.collector.reward_shapers = [EveryTokenMasked()]
        data.next_mini_batch(), data.next_mini_batch()
        data.collector.reward_shapers = []
        data.next_mini_batch(), data.next_mini_batch()
    assert data.rollout_step == 6


class AllRight:
    def __call__(self, texts, answers):
        return verdict(True for _ in texts)


def test_when_every_prompt_is_solved_the_run_ends_as_at_its_last_step(make_data, caplog):
    data = make_data("prompt_sampler=retire_solved", "task.train_size=6")  # two steps of four prompts
    data.collector.reward_function = AllRight()
    for _ in range(4):
        assert data.next_mini_batch() is not None
    with caplog.at_level("WARNING", logger="rltoolkit"):
        assert data.next_mini_batch() is None
    assert data.trainer.should_stop
    assert (
        caplog.messages[-1]
        == "the run ends after 2 rollout steps: every prompt is solved: prompt_sampler=retire_solved has none left of 6"
    )


def test_what_the_prompt_sampler_has_learned_goes_on_and_is_refused_for_another_task(make_data):
    sampler = "prompt_sampler=thompson"
    data, continued = make_data(sampler), make_data(sampler)
    for _ in range(3):
        data.next_mini_batch()
    continued.load_state_dict(data.state_dict())
    assert continued.collector.metrics() == data.collector.metrics()
    for _ in range(3):
        assert contents(continued.next_mini_batch()) == contents(data.next_mini_batch())
    continued.collector.prompts = PromptStream(continued.problems[1:], Thompson(), seed=0)
    with pytest.raises(ConfigError, match=r"prompt_sampler=thompson on 10,000 problems .* this run's of .* on 9,999 problems"):
        continued.load_state_dict(data.state_dict())


LAGGED = ("collector.max_lag=1", "importance_correction=tis")


def test_under_a_lag_every_row_is_scored_by_the_policy_that_it_trains(make_data):
    data = make_data(*LAGGED)
    data.next_mini_batch(), data.next_mini_batch()
    data.steps.settle()
    with torch.no_grad():
        data.module.policy.causal_lm.lm_head.weight.mul_(1.1)  # the update, after the second step was sampled
    batch = data.next_mini_batch()
    mask = batch["response_mask"]
    scored = data.module.score(batch, mask_key="response_mask")
    assert torch.equal(batch["old_log_probs"][mask], scored[mask])
    assert (batch["old_log_probs"] - batch["rollout_log_probs"])[mask].abs().mean() > 1e-3  # what the correction weighs


def test_under_a_lag_the_ratio_may_be_to_the_policy_that_sampled(make_data):
    batch = make_data("collector.max_lag=1", "trainer.old_log_probs=engine").next_mini_batch()
    assert torch.equal(batch["old_log_probs"], batch["rollout_log_probs"])


def test_a_lag_without_a_correction_is_refused(make_data):
    with pytest.raises(
        ConfigError, match=r"collector\.max_lag=1: .* set importance_correction=tis .* trainer\.old_log_probs=engine"
    ):
        make_data("collector.max_lag=1")


def test_a_run_with_a_lag_goes_on_with_what_was_sampled_ahead(make_data):
    data, continued = make_data(*LAGGED), make_data(*LAGGED)
    data.next_mini_batch()
    continued.load_state_dict(data.state_dict())
    assert (continued.rollout_step, continued.collector.rollout_step) == (1, 2)
    for _ in range(5):
        assert contents(continued.next_mini_batch()) == contents(data.next_mini_batch())


class Signalling:
    """The transformers engine; when it has sampled a rollout step's groups and is sent to sleep, Ctrl-C comes."""

    def __call__(self, **arguments):
        engine = Transformers(device="cpu")(**arguments)
        engine.sleep = lambda: signal.raise_signal(signal.SIGINT)
        return engine


def test_a_signal_during_sampling_loses_nothing(make_data):
    data, undisturbed = make_data(rollout_engine=Signalling()), make_data()
    before = data.collector.state_dict()
    data.interrupts.install(data.trainer)
    try:
        assert data.next_mini_batch() is None  # all groups were there already
    finally:
        data.interrupts.restore()
    assert data.trainer.should_stop
    assert data.collector.state_dict() == before
    # what the run does when it is started again with this state
    again = make_data()
    again.load_state_dict(data.state_dict())
    assert contents(again.next_mini_batch()) == contents(undisturbed.next_mini_batch())


def test_a_new_rollout_step_is_made_known(make_data, tmp_path):
    data = make_data()
    data.next_mini_batch()
    assert data.run_log.generated_tokens > 0
    assert data.sync.state_dict()["candidate"]  # the row on which the next weight sync is checked
