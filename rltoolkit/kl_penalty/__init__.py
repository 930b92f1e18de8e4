"""KL penalties: how far the policy is from a reference policy, token by token."""

from rltoolkit.kl_penalty._in_reward import subtract_kl
from rltoolkit.kl_penalty.base import KLPenalty
from rltoolkit.kl_penalty.k1 import K1
from rltoolkit.kl_penalty.k2 import K2
from rltoolkit.kl_penalty.k3 import K3
from rltoolkit.kl_penalty.none import NoPenalty
from rltoolkit.kl_penalty.sampler_drift import SamplerDrift
from rltoolkit.kl_penalty.unbiased_k3 import UnbiasedK3

__all__ = ["K1", "K2", "K3", "KLPenalty", "NoPenalty", "SamplerDrift", "UnbiasedK3", "subtract_kl"]
