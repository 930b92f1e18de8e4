"""How messages speak of a component and of its hyperparameters, and the checks that all components share.

A component is called as one would choose it, ``clip_strategy=clip_higher``, and a hyperparameter as one would set it,
``clip_strategy.epsilon_low=1.5`` or ``reward_shaper.soft_overlong_punishment.cache_length=64``. Every message goes through here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from rltoolkit.registry import SEVERAL

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def name_of(component: object) -> str:
    """The name under which a component is registered, or its class's for one that is not."""
    return getattr(component, "name", type(component).__name__)


def label(component: object) -> str:
    """A component as one would choose it: ``clip_strategy=symmetric``; the class's name where it is not registered."""
    kind = getattr(component, "kind", None)
    return f"{kind}={name_of(component)}" if kind else name_of(component)


def key(component: object, field: str) -> str:
    """The config key of a hyperparameter: ``clip_strategy.epsilon_low``, ``reward_shaper.overlong_filtering.factor``.

    Sections of the configuration (``trainer``, ``optimizer``) say under which key they stand in a class variable ``section``.
    """
    section = getattr(component, "section", None)
    if section is not None:
        return f"{section}.{field}" if section else field
    kind = getattr(component, "kind", None)
    if kind is None:
        return f"{name_of(component)}.{field}"
    return f"{kind}.{name_of(component)}.{field}" if kind in SEVERAL else f"{kind}.{field}"


def described(component: object) -> str:
    """A component with its hyperparameters, ``integer_answer(window=300)``: what a result's protocol is stamped with."""
    fields = {}
    if dataclasses.is_dataclass(component):
        fields = {field.name: getattr(component, field.name) for field in dataclasses.fields(component)}
    return f"{name_of(component)}({', '.join(f'{field}={value}' for field, value in fields.items())})"


def check(component: object, field: str, condition: bool, allowed: str) -> None:
    """Refuse a hyperparameter that is out of range.

    Raises:
        ValueError: for instance ``clip_strategy.epsilon_low=1.5: must be in [0, 1) (clip_strategy=clip_higher)``.
    """
    if not condition:
        whose = f" ({label(component)})" if getattr(component, "kind", None) else ""
        raise ValueError(f"{key(component, field)}={getattr(component, field)}: must be {allowed}{whose}")


def follows(config_key: str, default: T) -> T:
    """A field whose value in a run is that of another config key, unless it is set; ``default`` outside of runs.

    ``max_length: int = follows("sampling.max_new_tokens", 20480)``. So L_max is written in one place of a configuration.
    """
    return dataclasses.field(default=default, metadata={"follows": config_key})


def followed_key(field: dataclasses.Field[Any]) -> str | None:
    """The config key that a component's field follows; None for one that follows none."""
    return field.metadata.get("follows")


def check_tokens(component: object, **tensors: Tensor) -> None:
    """Require tensors [N, T], rows by tokens, all of the first one's shape; one called ``mask`` must be bool.

    Only shapes and dtypes are read, never values: it costs no synchronisation and leaves no trace under torch.compile.

    Raises:
        ValueError: for instance ``clip_strategy=symmetric: advantages has shape [3], expected [3, 5], as log_probs has``.
    """
    import torch

    reference, shape = None, torch.Size()
    for name, tensor in tensors.items():
        if reference is None:
            reference, shape = name, tensor.shape
            if tensor.ndim != 2:
                raise ValueError(f"{label(component)}: {name} has shape {list(shape)}, expected [N, T], rows by tokens")
        elif tensor.shape != shape:
            raise ValueError(
                f"{label(component)}: {name} has shape {list(tensor.shape)}, expected {list(shape)}, as {reference} has"
            )
        if name == "mask" and tensor.dtype != torch.bool:
            raise ValueError(f"{label(component)}: mask has dtype {tensor.dtype}, expected torch.bool")
