"""Models: what makes, converts or finds the Hugging Face directory that trainer and engine both load."""

from rltoolkit.model.base import ModelSource
from rltoolkit.model.hf import HuggingFace
from rltoolkit.model.smollm2_135m import SmolLM2
from rltoolkit.model.tiny import Tiny

__all__ = ["HuggingFace", "ModelSource", "SmolLM2", "Tiny"]
