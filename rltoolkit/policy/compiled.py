"""Compiled decoder layers: torch.compile fuses what stands between a layer's matrix products.

Layers of one kind share one piece of code, made for any number of rows and tokens: a first step compiles it, later shapes use it. A
single sequence, which torch treats apart, and a mask over joint rows each ask for one more. Config: ``trainer.compile=true``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rltoolkit.policy.backbone import decoder_layers


def compile_layers(causal_lm: Any) -> None:
    """Compile each decoder layer of a transformers causal LM, in place; names of weights stay.

    Call it after ``recompute_layers``, so that the compiler sees what is computed again, and before the layers are sharded, so that
    it does not see FSDP2's hooks.

    Raises what ``decoder_layers`` raises. A layer is compiled at its first call; what that needs, ``require_compiler`` tries.
    """
    for layer in decoder_layers(causal_lm):
        layer.forward = partial(_with_gradients, torch.compile(layer.forward, dynamic=True))


def _with_gradients(compiled: Callable[..., Any], hidden_states: Tensor, *arguments: Any, **keywords: Any) -> Any:
    """Run the code that computes gradients, too, where none are asked for.

    Code compiled without gradients rounds in other places: a policy that did not change would no longer have a ratio of exactly 1.
    And it would have to be compiled as well. What it keeps for a backward pass goes when the layer returns.
    """
    from torch.utils._pytree import tree_map_only  # here: the command line defers torch, and this would load a part of it

    asked = torch.is_grad_enabled()
    with torch.enable_grad():
        if not hidden_states.requires_grad:
            hidden_states = hidden_states.detach().requires_grad_()
        out = compiled(hidden_states, *arguments, **keywords)
    return out if asked else tree_map_only(Tensor, Tensor.detach, out)


def require_compiler(device: str) -> None:
    """Compile a function of one line for ``device``.

    Raises:
        ValueError: it cannot be done here; the message has torch's reason, such as a C++ compiler that is missing.
    """
    try:
        torch.compile(lambda number: number.exp() + 1)(torch.ones(8, device=device))
    except Exception as error:  # anything can be wrong with a compiler
        reason = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(
            f"trainer.compile=true: torch.compile does not work here for device {device!r} ({reason}); a CPU needs a C++ compiler "
            "(g++, or the one that CXX names), a GPU needs Triton and a C compiler; set trainer.compile=false to do without"
        ) from error
