"""The one vocabulary of measurements: the columns of metrics.csv and evaluations.csv, in loggers under the same names.

What a name begins with says what it is measured on:

    sampled_   all groups generated in the rollout step, those that a filter rejects included: how good the policy is. With
               collector.pilot_size, the pilots alone: whether the rest is sampled depends on them, so it would bias what is measured
    kept_      the groups that the rollout step trains on, carried ones included: what it learns from, a biased sample of the policy

What begins with neither is of the run or its optimizer steps. Shares are in [0, 1], lengths in tokens, times in wall seconds. A blank
stands where there was nothing to measure, such as the length of right responses where none is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple


class Column(NamedTuple):
    """What stands in a column."""

    over: str
    """what it is measured on, or counted over"""
    meaning: str


def without_meaning(names: Iterable[str], table: Mapping[str, Column]) -> set[str]:
    """The names that no entry of a table stands for; ``*`` in an entry stands for anything."""
    return {name for name in names if not any(fnmatchcase(name, entry) for entry in table)}


_RUN, _ROLLOUT, _SAMPLED, _KEPT = "the run so far", "rollout step", "sampled groups", "kept groups"
_TOKENS, _UPDATE, _SYNC, _HELD_OUT = "trained tokens", "optimizer step", "weight sync", "held-out problems"

METRICS: dict[str, Column] = {
    "optimizer_step": Column(_RUN, "optimizer steps made, the paper's x-axis"),
    "rollout_step": Column(_RUN, "rollout steps begun"),
    "generated_tokens_total": Column(_RUN, "tokens sampled for training, those of rejected groups included"),
    "seconds": Column(_RUN, "time of training: without start, evaluations and checkpoints"),
    # what the policy wrote
    "sampled_accuracy": Column(_SAMPLED, "share of right responses (avg@G)"),
    "sampled_pass_at_k": Column(_SAMPLED, "share of groups with a right response: pass@k, k responses to a group"),
    "sampled_all_correct": Column(_SAMPLED, "share of groups whose responses are all right; they teach nothing (paper, fig. 3a)"),
    "sampled_all_wrong": Column(_SAMPLED, "share of groups whose responses are all wrong; they teach nothing"),
    "sampled_reward": Column(_SAMPLED, "mean reward, shaped"),
    "sampled_response_length": Column(_SAMPLED, "mean length"),
    "sampled_response_length_right": Column(_SAMPLED, "mean length of right responses"),
    "sampled_response_length_wrong": Column(_SAMPLED, "mean length of wrong responses"),
    "sampled_response_length_p10": Column(_SAMPLED, "10th percentile of the length"),
    "sampled_response_length_p50": Column(_SAMPLED, "median length"),
    "sampled_response_length_p90": Column(_SAMPLED, "90th percentile of the length"),
    "sampled_response_length_max": Column(_SAMPLED, "largest length"),
    "sampled_truncated": Column(_SAMPLED, "share of responses that the length limit stopped"),
    "sampled_reflection": Column(_SAMPLED, "share of responses with a phrase of trainer.reflection_phrases (paper, section 4.4)"),
    "sampled_reflection_right": Column(_SAMPLED, "the same among right responses"),
    "sampled_reflection_wrong": Column(_SAMPLED, "the same among wrong responses"),
    "sampled_style_*": Column(_SAMPLED, "share of responses in this style, where the task tells styles apart; a column for each"),
    "sampled_style_*_truncated": Column(_SAMPLED, "share of responses in this style that the length limit stopped"),
    # what is trained on
    "kept_accuracy": Column(_KEPT, "share of right responses"),
    "kept_all_correct": Column(_KEPT, "share of groups whose responses are all right; 0 under dynamic sampling"),
    "kept_all_wrong": Column(_KEPT, "share of groups whose responses are all wrong; 0 under dynamic sampling"),
    "kept_reward": Column(_KEPT, "mean reward, shaped, less the KL where the reward pays for it"),
    "kept_teacher_kl": Column(_KEPT, "mean of log pi - log pi_teacher over sampled tokens, nats: KL(policy || teacher)"),
    "kept_reward_kl": Column(_KEPT, "mean KL of a response to the reference, where the reward pays for it, nats"),
    "kept_response_length": Column(_KEPT, "mean length"),
    "kept_truncated": Column(_KEPT, "share of responses that the length limit stopped"),
    "kept_policy_age": Column(_KEPT, "rollout steps between the weights that sampled a response and those it trains, mean"),
    # what became of the groups
    "generated_groups": Column(_ROLLOUT, "groups sampled, those of which only a pilot was included"),
    "kept_groups": Column(_ROLLOUT, "groups trained on"),
    "rejected_all_correct": Column(_ROLLOUT, "groups that a filter rejected, all responses right"),
    "rejected_all_wrong": Column(_ROLLOUT, "groups that a filter rejected, all responses wrong"),
    "rejected_other": Column(_ROLLOUT, "groups that a filter rejected for another reason"),
    "carried_in": Column(_ROLLOUT, "groups that an earlier rollout step kept beyond its need"),
    "carried_out": Column(_ROLLOUT, "groups kept beyond the need, left to the next rollout step"),
    "dropped_groups": Column(_ROLLOUT, "groups thrown away: too old, or submitted beyond the need"),
    "filled_groups": Column(_ROLLOUT, "rejected groups trained on all the same, at the generation limit"),
    "verifier_failures": Column(_ROLLOUT, "checks that crashed or ran into a limit; their responses are judged wrong"),
    "generated_responses": Column(_ROLLOUT, "responses sampled"),
    "trained_responses": Column(_ROLLOUT, "responses of the groups trained on"),
    "generated_tokens": Column(_ROLLOUT, "tokens sampled"),
    "trained_tokens": Column(_ROLLOUT, "tokens trained on"),
    "acceptance_rate": Column(_ROLLOUT, "share of the sampled groups that passed the filters"),
    "generated_per_trained_group": Column(_ROLLOUT, "responses sampled for each one trained on; without pilots, groups likewise"),
    "generated_per_trained_token": Column(_ROLLOUT, "tokens sampled for each one trained on"),
    # what the prompt sampler knows
    "prompts_asked": Column(_RUN, "distinct training prompts of which a group was sampled: the coverage of the task"),
    "prompts_retired": Column(_RUN, "prompt_sampler=retire_solved: prompts that are never asked again"),
    "prompts_p_easy": Column(_RUN, "prompt_sampler=greso: chance to be asked after one group that was all right"),
    "prompts_p_hard": Column(_RUN, "prompt_sampler=greso: chance to be asked after one group that was all wrong"),
    "prompts_pool_*": Column(_RUN, "prompt_sampler=difficulty_pools: prompts in this pool, a column for each"),
    "prompts_pass_rate_error": Column(_SAMPLED, "prompt_sampler=thompson: mean |expected - observed share of right responses|"),
    "prompts_predicted_mixed": Column(
        _SAMPLED, "prompt_sampler=predicted_dynamics: share of groups expected to be neither all right nor all wrong"
    ),
    # the update
    "entropy": Column(_TOKENS, "mean entropy of the policy's next-token distribution, nats"),
    "probability": Column(_TOKENS, "mean probability of the sampled token under the policy (paper, fig. 7d)"),
    "ratio": Column(_TOKENS, "mean ratio of new to old probability"),
    "ratio_max": Column(_TOKENS, "largest ratio"),
    "clipped_low": Column(_TOKENS, "share whose gradient the floor of the ratio takes away"),
    "clipped_high": Column(_TOKENS, "share whose gradient the ceiling of the ratio takes away"),
    "clipped_high_probability": Column(_TOKENS, "mean probability under the policy of those at the ceiling (paper, fig. 3b)"),
    "kl_old": Column(_TOKENS, "KL from the policy before the update (k3), nats"),
    "kl_reference": Column(_TOKENS, "KL penalty's estimate of the KL to its reference, nats"),
    "sampler_kl": Column(_TOKENS, "KL from the engine's distribution to the trainer's (k3), nats"),
    "mismatch": Column(_TOKENS, "mean |rho - 1|, rho the ratio of the trainer's old to the engine's probability"),
    "mismatch_max": Column(_TOKENS, "largest |rho - 1|"),
    "loss": Column(_UPDATE, "the objective"),
    "gradient_norm": Column(_UPDATE, "before clipping"),
    "gradient_noise": Column(
        _ROLLOUT, "standard deviation of gradient_norm over its mini-batches, over their mean; made by the report, for curves.csv"
    ),
    "learning_rate": Column(_UPDATE, "of the optimizer"),
    "steps_without_tokens": Column(_UPDATE, "1 where nothing trained, so no step was made"),
    "steps_not_finite": Column(_UPDATE, "1 where loss or gradient was not finite, so no step was made"),
    # what it cost
    "seconds_generation": Column(_ROLLOUT, "sampling, verifying, shaping and filtering"),
    "seconds_waiting": Column(
        _ROLLOUT, "of these, what training stood still for: all, unless sampling runs ahead (collector.max_lag)"
    ),
    "seconds_verification": Column(_ROLLOUT, "of seconds_generation, waiting for the reward function"),
    "seconds_score": Column(_ROLLOUT, "log-probs of the old policy"),
    "seconds_update": Column(_UPDATE, "forward, backward and optimizer"),
    "seconds_sync": Column(_SYNC, "sending the weights to the engine"),
    "seconds_parity": Column(_SYNC, "checking that they arrived"),
    "tokens_per_second_generation": Column(_ROLLOUT, "tokens sampled in a second of seconds_generation"),
    "tokens_per_second_update": Column(_UPDATE, "tokens trained on in a second of seconds_update"),
    "peak_memory_gib": Column(_RUN, "most memory held, of the GPU where there is one, GiB"),
    "sync_gap": Column(_SYNC, "mean difference of log-probs between engine and trainer, nats"),
    "sync_gap_max": Column(_SYNC, "largest difference of log-probs between engine and trainer, nats"),
    "policy_movement": Column(_SYNC, "mean change of the trainer's log-probs since the first check of the same tokens, nats"),
}
"""The columns of metrics.csv: one row for each optimizer step; what is of a rollout step stands in all of its rows."""

EVALUATIONS: dict[str, Column] = {
    "optimizer_step": METRICS["optimizer_step"],
    "rollout_step": METRICS["rollout_step"],
    "generated_tokens_total": METRICS["generated_tokens_total"],
    "seconds": METRICS["seconds"],
    "avg_at_k": Column(_HELD_OUT, "share of right responses"),
    "pass_at_k": Column(_HELD_OUT, "chance that one of k responses is right"),
    "cons_at_k": Column(_HELD_OUT, "accuracy of the majority vote; blank where the reward function extracts no answers"),
    **{
        f"{name}_at_k_{end}": Column(_HELD_OUT, f"{place} end of the 95 % bootstrap interval over problems of {name}@k")
        for name in ("avg", "pass", "cons")
        for end, place in (("low", "lower"), ("high", "upper"))
    },
    "task": Column(_HELD_OUT, "which task's problems; without this column, those of the run's only one"),
    "avg_at_k_difficulty_*": Column(_HELD_OUT, "avg@k over the problems that the task calls so difficult, a column for each"),
    "k": Column(_HELD_OUT, "responses to each problem"),
    "problems": Column(_HELD_OUT, "how many"),
    "response_length": Column(_HELD_OUT, "mean length"),
    "truncated": Column(_HELD_OUT, "share of responses that the length limit stopped"),
    "evaluation_seconds": Column(_HELD_OUT, "what the evaluation took"),
    "evaluation_tokens": Column(_HELD_OUT, "tokens that the evaluation sampled"),
    "reward_function": Column(_HELD_OUT, "the verifier with its hyperparameters"),
    "temperature": Column(_HELD_OUT, "of sampling"),
    "top_p": Column(_HELD_OUT, "of sampling"),
    "max_new_tokens": Column(_HELD_OUT, "the length limit"),
}
"""The columns of evaluations.csv: one row for each held-out evaluation."""
