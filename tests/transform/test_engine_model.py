"""The toolkit's own engine as the language model, on random weights."""

import asyncio

import pytest

from rltoolkit.rollout_engine import Sampling, Transformers
from rltoolkit.transform.engine_model import EngineModel
from rltoolkit.transform.language_model import RequestRefused

from ..rollout_engine.conftest import save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("random"), tied=True)


def replies(folder, *requests):
    """To (prompt, seed) pairs that are asked at once; an exception where there is no reply."""

    async def go():
        spec, sampling = Transformers(device="cpu"), Sampling(max_new_tokens=8)
        model = EngineModel(spec, folder, chat=False, sampling=sampling, max_prompt_tokens=16)
        try:
            return await asyncio.gather(*(model.reply(*request) for request in requests), return_exceptions=True)
        finally:
            await model.close()

    return asyncio.run(go())


def test_a_reply_depends_on_prompt_and_seed_alone(folder):
    first, other, again = replies(folder, ("1+2=", 1), ("1+2=", 2), ("1+2=", 1))
    assert first == again != other
    assert replies(folder, ("what?", 7), ("1+2=", 1))[1] == first


def test_a_prompt_that_is_too_long_is_refused_and_the_others_are_answered(folder):
    long, short = replies(folder, ("1" * 17, 1), ("1" * 16, 1))
    assert isinstance(long, RequestRefused)
    assert "17 tokens, max_prompt_tokens=16" in str(long)
    assert isinstance(short, str)


def test_an_error_of_the_engine_reaches_whoever_asked(folder):
    """A seed that is no number is nothing that an engine can use."""
    [error] = replies(folder, ("1+2=", "one"))
    assert isinstance(error, Exception)
