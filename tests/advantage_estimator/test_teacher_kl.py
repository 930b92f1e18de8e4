import pytest
import torch

from rltoolkit.advantage_estimator import TeacherKL
from rltoolkit.rollout_batch import with_entries


def rollouts_of(make_rollouts, own, teacher, **entries):
    """Two responses to one prompt, of two tokens and of one, behind a prompt of two tokens."""
    rollouts = make_rollouts(response_length=[[2, 1]], **{"reward": [[1.0, -1.0]], **entries})
    padded = {
        name: torch.tensor([[[0, 0, *rows[0]], [0, 0, *rows[1], 0]]])
        for name, rows in {"rollout_log_probs": own, "teacher_log_probs": teacher}.items()
    }
    return with_entries(rollouts, **padded)


def test_a_token_is_worth_the_teachers_log_prob_less_the_policys(make_rollouts):
    # first response: -1.0 - -0.5 = -0.5 and -0.25 - -2.0 = 1.75; second: -0.5 - -1.5 = 1.0; twice that; prompts and padding 0
    rollouts = rollouts_of(make_rollouts, own=[[-0.5, -2.0], [-1.5]], teacher=[[-1.0, -0.25], [-0.5]])
    assert TeacherKL(coefficient=2)(rollouts).tolist() == [[[0, 0, -1, 3.5], [0, 0, 2, 0]]]


def test_the_advantage_of_another_estimator_joins_every_token(make_rollouts):
    # group_centered: rewards 1 and -1, mean 0
    rollouts = rollouts_of(make_rollouts, own=[[-0.5, -2.0], [-1.5]], teacher=[[-1.0, -0.25], [-0.5]])
    assert TeacherKL(added_to="group_centered")(rollouts).tolist() == [[[0, 0, 0.5, 2.75], [0, 0, 0, 0]]]


def test_where_teacher_and_policy_agree_nothing_is_learned(make_rollouts):
    assert not TeacherKL()(rollouts_of(make_rollouts, own=[[-0.5, -2.0], [-1.5]], teacher=[[-0.5, -2.0], [-1.5]])).any()


def test_the_expected_gradient_is_that_of_the_divergence():
    """Over the policy's own tokens, sum over v of pi(v) A(v) grad log pi(v) = -grad KL(pi || teacher)."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64).log_softmax(0)
    own = logits.log_softmax(0)
    divergence = (own.exp() * (own - teacher)).sum()
    (exact,) = torch.autograd.grad(divergence, logits, retain_graph=True)
    advantage = (teacher - own).detach()  # what the estimator gives to each of the three tokens
    (policy_gradient,) = torch.autograd.grad((own.exp().detach() * advantage * own).sum(), logits)
    torch.testing.assert_close(policy_gradient, -exact)


def test_alone_it_compares_no_responses_and_reads_no_reward():
    assert (TeacherKL().min_group_size, TeacherKL().reads_reward) == (1, False)
    assert (TeacherKL(added_to="leave_one_out").min_group_size, TeacherKL(added_to="max_rl").reads_reward) == (2, False)
    assert TeacherKL(added_to="group_normalized").reads_reward


def test_log_probs_that_are_missing_or_not_finite_are_refused(make_rollouts):
    rollouts = rollouts_of(make_rollouts, own=[[-0.5, -2.0], [-1.5]], teacher=[[-1.0, float("-inf")], [-0.5]])
    with pytest.raises(ValueError, match="advantage_estimator=teacher_kl: 'teacher_log_probs' must be finite on sampled tokens"):
        TeacherKL()(rollouts)
    with pytest.raises(ValueError, match=r"'teacher_log_probs' is missing, expected \[1, 2, 4\]"):
        TeacherKL()(rollouts.exclude("teacher_log_probs"))
    with pytest.raises(ValueError, match=r"'teacher_log_probs' has shape \[1, 2, 3\], expected \[1, 2, 4\]"):
        TeacherKL()(with_entries(rollouts, teacher_log_probs=torch.zeros(1, 2, 3)))


def test_it_cannot_be_added_to_itself_or_to_what_does_not_exist():
    with pytest.raises(ValueError, match=r"advantage_estimator\.added_to=teacher_kl: must be another estimator"):
        TeacherKL(added_to="teacher_kl")
    with pytest.raises(LookupError, match="Did you mean group_normalized"):
        TeacherKL(added_to="group_normalised")
