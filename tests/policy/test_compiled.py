"""Compiled layers compute what the others do."""

import pytest
import torch

from rltoolkit.policy.compiled import compile_layers, require_compiler
from rltoolkit.policy.policy import PolicyModel

from .test_policy import causal_lm, ragged_rows


def test_values_and_gradients_are_those_without() -> None:
    plain, compiled = PolicyModel(causal_lm()), PolicyModel(causal_lm())
    compile_layers(compiled.causal_lm)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    input_ids, mask = ragged_rows()
    found = [policy(input_ids, mask).log_probs for policy in (plain, compiled)]
    for log_probs in found:
        log_probs.sum().backward()
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*([it.grad for it in policy.parameters()] for policy in (plain, compiled)), rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # scoring runs the same code: the ratio of a policy that did not change is exactly 1
        again = compiled(input_ids, mask).log_probs
    assert not again.requires_grad
    assert torch.equal(again, found[1])


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config
    from torch._inductor.cpp_builder import cpp_compiler_search

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    cpp_compiler_search.cache_clear()
    with pytest.raises(ValueError, match=r"trainer\.compile=true.*no-such-compiler.*trainer\.compile=false"):
        require_compiler("cpu")
    cpp_compiler_search.cache_clear()
