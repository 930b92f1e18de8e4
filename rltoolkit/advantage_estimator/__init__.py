"""Advantage estimators: how much better a response was than what could be expected."""

from rltoolkit.advantage_estimator.base import AdvantageEstimator
from rltoolkit.advantage_estimator.batch_normalized import BatchNormalized
from rltoolkit.advantage_estimator.group_centered import GroupCentered
from rltoolkit.advantage_estimator.group_normalized import GroupNormalized
from rltoolkit.advantage_estimator.leave_one_out import LeaveOneOut
from rltoolkit.advantage_estimator.max_rl import MaxRL
from rltoolkit.advantage_estimator.optimal_baseline import OptimalBaseline
from rltoolkit.advantage_estimator.pass_at_k import PassAtK
from rltoolkit.advantage_estimator.raw import Raw
from rltoolkit.advantage_estimator.reinforce_plus_plus import ReinforcePlusPlus
from rltoolkit.advantage_estimator.reinforce_plus_plus_baseline import ReinforcePlusPlusBaseline
from rltoolkit.advantage_estimator.teacher_kl import TeacherKL

__all__ = [
    "AdvantageEstimator",
    "BatchNormalized",
    "GroupCentered",
    "GroupNormalized",
    "LeaveOneOut",
    "MaxRL",
    "OptimalBaseline",
    "PassAtK",
    "Raw",
    "ReinforcePlusPlus",
    "ReinforcePlusPlusBaseline",
    "TeacherKL",
]
