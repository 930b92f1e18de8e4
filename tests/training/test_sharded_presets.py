"""The presets for GPUs, with the sizes of their real models: sharded as in a run, over ranks and weights that are not real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sharded_presets.py")


RUNS = ["preset=single_gpu trainer.devices=8", "preset=one_node", "preset=paper"]


@pytest.fixture(scope="module")
def first_ranks() -> list[dict[str, object]]:
    words = [f"+experiment=dapo {overrides}" for overrides in RUNS]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# A Qwen2.5 of width h, MLP I, key-value width k and vocabulary V has in each layer h h + h + 2 (h k + k) + h h + 3 h I + 2 h
# parameters, and V h + h outside (2 V h + h where the head is not the embeddings).
@pytest.mark.parametrize(
    ("number", "ranks", "layers", "parameters"),
    [
        # h 896, I 4864, k 128, V 151,936, tied: 24 x 14,912,384 + 136,134,656 + 896
        (0, 8, 24, 494_032_768),
        # h 3584, I 18944, k 512, V 152,064: 28 x 233,057,792 + 2 x 544,997,376 + 3,584
        (1, 8, 28, 7_615_616_512),
        # h 5120, I 27648, k 1024, V 152,064: 64 x 487,605,248 + 2 x 778,567,680 + 5,120
        (2, 128, 64, 32_763_876_352),
    ],
    ids=RUNS,
)
def test_each_rank_holds_its_share(first_ranks, number, ranks, layers, parameters):
    assert first_ranks[number] == {
        "ranks": ranks,
        "all are sharded": True,
        "layers sharded by themselves": layers,
        "parameters": parameters,
        "here": parameters // ranks,  # widths and vocabularies are multiples of the ranks, so nothing is padded
        "trained": parameters,
        "planned bytes of weights": 4 * parameters / ranks,  # float32
    }
