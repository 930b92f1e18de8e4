"""The loop's order: what is called around an optimizer step, at the start and at the end. Everything it calls is recorded."""

from types import SimpleNamespace

import pytest

from rltoolkit.training.loop import Loop


class Part:
    """One of the loop's parts: every call goes into the record as part.method; values are set from outside."""

    def __init__(self, name, record, **values):
        self.__dict__.update(values, _name=name, _record=record)

    def __getattr__(self, method):
        def call(*args, **kwargs):
            self._record.append(f"{self._name}.{method}")

        return call


@pytest.fixture
def record() -> list[str]:
    return []


@pytest.fixture
def loop(record) -> Loop:
    """In the middle of its fourth rollout step, after eight optimizer steps; nobody wants to stop."""

    def part(name, **values):
        return Part(name, record, **values)

    loop = Loop(
        data=part("data", rollout_step=4, rollout_step_finished=False, engine=part("engine")),
        module=part("module", step_metrics={}, token_record=None),
        sync=part("sync", metrics={}, sent_at=8),
        run_log=part("log", latest={}),
        rollout_files=part("rollouts"),
        display=part("display"),
        evaluator=part("evaluator", best_step=0, is_due=lambda rollout_step: rollout_step % 4 == 0),
        checkpoints=part("checkpoints"),
        interrupts=part("interrupts", should_stop=lambda: False),
        checkpoint_every=2,
    )

    def evaluate(trainer, engine, rollout_step):
        record.append(f"evaluate {trainer.global_step}")
        loop.evaluator.best_step = trainer.global_step

    loop.evaluator.evaluate = evaluate
    return loop


def trainer(step: int = 8) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, is_global_zero=True)


def after_a_step(loop: Loop) -> None:
    loop.on_train_batch_end(trainer(), None, None, None, 0)


def test_an_optimizer_step_inside_a_rollout_step_is_logged_and_no_more(loop, record):
    loop.on_train_batch_start(trainer(), None, None, 0)
    after_a_step(loop)
    assert record == [
        "sync.forget",
        "log.start_update",
        "log.optimizer_step",
        "rollouts.updated",
        "display.trained",
        "checkpoints.publish_if_written",
    ]


def test_at_the_end_of_a_rollout_step_the_engine_gets_the_weights_before_anyone_asks_for_them(loop, record):
    loop.data.rollout_step_finished = True
    after_a_step(loop)
    assert record == [
        "data.settle", "sync.send",  # what is sampled ahead has the weights from before
        "log.optimizer_step", "rollouts.updated", "display.trained", "checkpoints.publish_if_written", "checkpoints.save",
        # and the step that turned out to be the best so far is saved, whether its turn has come or not
        "evaluate 8", "checkpoints.save", "checkpoints.mark_best",
    ]  # fmt: skip


def test_every_nth_rollout_step_is_saved(loop, record):
    loop.data.rollout_step_finished = True
    for loop.data.rollout_step in (1, 2, 3):
        after_a_step(loop)
    assert record.count("checkpoints.save") == 1


def test_the_end_is_safe_before_it_is_evaluated(loop, record):
    loop.on_train_end(trainer(), None)
    assert record == [
        "display.stop", "checkpoints.save", "checkpoints.finish", "evaluate 8", "checkpoints.save", "checkpoints.mark_best",
        "checkpoints.finish", "interrupts.restore",  # the handlers last: a signal may come during the evaluation
    ]  # fmt: skip


def test_a_run_that_ends_inside_a_rollout_step_is_evaluated_with_the_weights_it_ends_with(loop, record):
    loop.sync.sent_at = 6
    loop.on_train_end(trainer(), None)
    assert record.index("sync.send") < record.index("evaluate 8")


def test_a_run_that_was_stopped_is_not_evaluated(loop, record):
    loop.interrupts.should_stop = lambda: True
    loop.on_train_end(trainer(), None)
    assert record == ["display.stop", "checkpoints.save", "checkpoints.finish", "interrupts.restore"]


def test_a_new_run_starts_with_an_evaluation_and_no_sync_and_samples_at_once(loop, record):
    loop.data.rollout_step, loop.data.rollout_step_finished = 0, True
    loop.on_train_start(trainer(0), None)
    assert record == [
        "interrupts.install", "checkpoints.clear_partial", "log.open", "rollouts.open", "evaluator.open", "checkpoints.mark_best",
        "evaluate 0", "checkpoints.save", "checkpoints.mark_best", "display.start",
    ]  # fmt: skip


def test_a_continued_run_gives_the_engine_its_weights_first_and_lends_its_memory_to_the_updates(loop, record):
    # the engine has started on the model's files; mini-batches are pending, so the next thing is an update
    loop.on_train_start(trainer(), None)
    assert record[-3:] == ["sync.send_again", "engine.sleep", "display.start"]
    assert "evaluate 8" not in record


def test_a_failure_gives_everything_back_and_waits_for_nobody(loop, record):
    loop.on_exception(trainer(), None, RuntimeError())
    assert record == ["display.stop", "checkpoints.abandon", "interrupts.restore"]


def test_the_log_and_the_probe_are_in_the_checkpoint(loop):
    loop.run_log.state_dict, loop.sync.state_dict = lambda: {"seconds": 3.0}, lambda: {"probe": None}
    state = loop.state_dict()
    given = {}
    loop.run_log.load_state_dict, loop.sync.load_state_dict = given.update, given.update
    loop.load_state_dict(state)
    assert given == {"seconds": 3.0, "probe": None}
