"""Prompts as token ids, and an import that stays light."""

import subprocess
import sys

import pytest

from rltoolkit.model.tiny import character_tokenizer
from rltoolkit.policy.loading import encode

TURNS = [("user", "1+1="), ("assistant", "=2"), ("user", "2+2=")]


def test_without_chat_the_contents_are_joined_and_nothing_is_added() -> None:
    tokenizer = character_tokenizer()
    assert tokenizer.decode(encode(tokenizer, TURNS, chat=False)) == "1+1==22+2="


def test_with_chat_the_template_ends_where_the_response_begins() -> None:
    tokenizer = character_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '+' if m['role'] == 'user' else '-' }}{{ m['content'] }};{% endfor %}"
        "{% if add_generation_prompt %}-{% endif %}"
    )
    ids = encode(tokenizer, TURNS, chat=True)
    assert all(isinstance(token, int) for token in ids)
    assert tokenizer.decode(ids) == "+1+1=;-=2;+2+2=;-"


def test_chat_without_a_template_says_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"set model\.chat=false"):
        encode(character_tokenizer(), TURNS, chat=True)


def test_importing_the_models_imports_no_heavy_library() -> None:
    program = (
        "import sys, rltoolkit.model, rltoolkit.policy.loading, rltoolkit.policy.policy, rltoolkit.task;"
        "print(sorted({'transformers', 'hydra', 'lightning', 'vllm', 'rich', 'datasets'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
