"""Importance corrections: weights for the mismatch between the policy that sampled and the one the trainer computes."""

from rltoolkit.importance_correction.base import ImportanceCorrection
from rltoolkit.importance_correction.geometric_mask import GeometricMask
from rltoolkit.importance_correction.icepop import IcePop
from rltoolkit.importance_correction.none import NoCorrection
from rltoolkit.importance_correction.sequence_error_mask import SequenceErrorMask
from rltoolkit.importance_correction.sequence_mask import SequenceMask
from rltoolkit.importance_correction.sequence_tis import SequenceTIS
from rltoolkit.importance_correction.tis import TIS

__all__ = [
    "TIS",
    "GeometricMask",
    "IcePop",
    "ImportanceCorrection",
    "NoCorrection",
    "SequenceErrorMask",
    "SequenceMask",
    "SequenceTIS",
]
