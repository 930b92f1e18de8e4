"""Clip strategies: how far a sampled token's probability may move from the policy at the start of the rollout step."""

from rltoolkit.clip_strategy.base import ClipStrategy, StepClipStrategy, TokenLoss
from rltoolkit.clip_strategy.cispo import CISPO
from rltoolkit.clip_strategy.clip_cov import ClipCov
from rltoolkit.clip_strategy.clip_higher import ClipHigher
from rltoolkit.clip_strategy.dppo_kl import DPPOKL
from rltoolkit.clip_strategy.dppo_tv import DPPOTV
from rltoolkit.clip_strategy.dual_clip import DualClip
from rltoolkit.clip_strategy.gmpo import GMPO
from rltoolkit.clip_strategy.gspo import GSPO
from rltoolkit.clip_strategy.gspo_token import GSPOToken
from rltoolkit.clip_strategy.kl_cov import KLCov
from rltoolkit.clip_strategy.no_clip import NoClip
from rltoolkit.clip_strategy.off_policy_mask import OffPolicyMask
from rltoolkit.clip_strategy.on_policy import OnPolicy
from rltoolkit.clip_strategy.sapo import SAPO
from rltoolkit.clip_strategy.symmetric import Symmetric

__all__ = [
    "CISPO",
    "DPPOKL",
    "DPPOTV",
    "GMPO",
    "GSPO",
    "SAPO",
    "ClipCov",
    "ClipHigher",
    "ClipStrategy",
    "DualClip",
    "GSPOToken",
    "KLCov",
    "NoClip",
    "OffPolicyMask",
    "OnPolicy",
    "StepClipStrategy",
    "Symmetric",
    "TokenLoss",
]
