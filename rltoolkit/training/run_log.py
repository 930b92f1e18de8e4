"""What a run writes down: one row of metrics for each optimizer step, and samples of what the model wrote."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from tensordict import TensorDict

from rltoolkit.collector import CollectedStep
from rltoolkit.collector.counters import counter_metrics
from rltoolkit.rollout_batch import text_list

REFLECTION = re.compile(
    r"\b(wait|hold on|let me (?:check|re-?check|verify|double-check|re-?think|re-?consider)|re-?check|double-check|"
    r"on second thought|"
    r"i made a mistake|that'?s not right|actually, no)\b",
    re.IGNORECASE,
)
"""Phrases of reconsideration, after the paper's section 4.4 on reflective behaviour."""


class CsvTable:
    """A CSV file that grows row by row; a new column makes it write the file anew.

    Args:
        path: the file; rows that are already in it stay, as far as ``keep`` says so.
        keep: which of the rows found at the start to keep (a resumed run drops those after its checkpoint).
    """

    def __init__(self, path: Path, keep: Callable[[dict[str, str]], bool] = lambda row: True) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            whole = path.read_text().rpartition("\n")[0]  # a process that was killed may leave half a line
            self.rows = [row for row in csv.DictReader(io.StringIO(whole)) if keep(row)]
        self.columns = list(self.rows[0]) if self.rows else []
        if path.exists():
            self._rewrite()

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; columns it lacks stay blank."""
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self) -> None:
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


class RunLog(L.Callback):
    """Writes metrics.csv and rollouts/, and hands the same metrics to Lightning's loggers (wandb, TensorBoard).

    Args:
        folder: the run's folder.
        rollouts_every: rollout steps between two files of sampled responses.
        sync_metrics: what the weight sync measured, if there was one at the end of this mini-batch.

    ``seconds`` is the time of training so far, without start, evaluations and checkpoints. It is the sum of ``seconds_generation``
    and ``seconds_score``, once for each rollout step, and of ``seconds_update``, ``seconds_sync`` and ``seconds_parity`` of every row.
    ``seconds_verification`` is the part of ``seconds_generation`` in which the first process waited for the reward function.
    """

    def __init__(self, folder: Path, *, rollouts_every: int, sync_metrics: Callable[[], dict[str, float]]) -> None:
        self.folder = folder
        self.rollouts_every = rollouts_every
        self.sync_metrics = sync_metrics
        self.seconds = 0.0
        self.generated_tokens = 0
        self.latest: dict[str, float] = {}
        self._rollout_metrics: dict[str, float] = {}
        self._table: CsvTable | None = None
        self._update_started: float | None = None

    def on_collected(self, step: CollectedStep, rollout_step: int) -> None:
        """Take the metrics of a new rollout step; its rows of metrics.csv all carry them."""
        self.generated_tokens += step.counters.generated_tokens
        metrics = rollout_metrics(step)
        metrics["rollout_step"] = rollout_step
        metrics["generated_tokens_total"] = self.generated_tokens
        metrics["seconds_generation"] = step.seconds
        metrics["seconds_verification"] = step.seconds_verification
        metrics["tokens_per_second_generation"] = step.counters.generated_tokens / max(step.seconds, 1e-9)
        metrics["seconds_score"] = 0.0
        self._rollout_metrics = metrics
        if self._table is not None and (rollout_step - 1) % self.rollouts_every == 0:
            write_rollouts(self.folder / "rollouts" / f"step_{rollout_step:05d}.jsonl", step.rollouts)
        self.seconds += step.seconds

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Times what happens inside as the scoring of the rollout step that was collected last."""
        start = time.perf_counter()
        yield
        self._update_started = time.perf_counter()  # cutting mini-batches counts as part of the first update
        self._rollout_metrics["seconds_score"] = self._update_started - start
        self.seconds += self._rollout_metrics["seconds_score"]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Start the clock of an update; evaluations and checkpoints are on nobody's."""
        if self._update_started is None:
            self._update_started = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open metrics.csv; a resumed run drops the rows of optimizer steps that it will make again."""
        if trainer.is_global_zero:
            self._table = CsvTable(self.folder / "metrics.csv", lambda row: int(row["optimizer_step"]) <= trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        """One row for each optimizer step."""
        assert self._update_started is not None
        elapsed, self._update_started = time.perf_counter() - self._update_started, None
        self.seconds += elapsed
        sync = self.sync_metrics()
        update = elapsed - sync.get("seconds_sync", 0.0) - sync.get("seconds_parity", 0.0)
        row: dict[str, float] = {"optimizer_step": trainer.global_step, **self._rollout_metrics, "seconds": self.seconds}
        row |= {"seconds_update": update, "tokens_per_second_update": int(batch["loss_mask"].sum()) / max(update, 1e-9)}
        row |= {**pl_module.step_metrics, "peak_memory_gib": peak_memory_gib(), **sync}  # type: ignore[dict-item]
        self.latest = row
        if self._table is not None:
            self._table.append({name: _short(value) for name, value in row.items()})
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Running totals and the metrics of the current rollout step."""
        return {"seconds": self.seconds, "generated_tokens": self.generated_tokens, "rollout": self._rollout_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the totals."""
        self.seconds, self.generated_tokens = state_dict["seconds"], state_dict["generated_tokens"]
        self._rollout_metrics = state_dict["rollout"]


def peak_memory_gib() -> float:
    """The most memory held so far: of the GPU where there is one, else of this process (an engine in it included)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def rollout_metrics(step: CollectedStep) -> dict[str, float]:
    """What the sampled responses of a rollout step look like, all groups counted, those rejected as well."""
    sampled, lengths = step.sampled, step.sampled["response_length"].double()
    correct = sampled["correct"].double()
    texts = text_list(sampled, "response_text")
    percentiles = torch.quantile(lengths, torch.tensor([0.1, 0.5, 0.9], dtype=lengths.dtype)).tolist()
    group_accuracy = correct.mean(1)
    return {
        "accuracy": float(correct.mean()),
        "reward": float(sampled["reward"].mean()),
        "response_length": float(lengths.mean()),
        "response_length_max": float(lengths.max()),
        **{f"response_length_p{p}": value for p, value in zip((10, 50, 90), percentiles, strict=True)},
        "truncated": float(sampled["truncated"].double().mean()),
        "zero_variance_groups": float(((group_accuracy == 0) | (group_accuracy == 1)).double().mean()),
        "reflection_rate": sum(bool(REFLECTION.search(text)) for text in texts) / len(texts),
        "policy_age": float(sampled["policy_version"].max() - step.rollouts["policy_version"].double().mean()),
        **({"reward_kl": float(step.rollouts["reward_kl"].mean())} if "reward_kl" in step.rollouts else {}),
        **counter_metrics(step.counters),
    }


def write_rollouts(path: Path, rollouts: TensorDict, groups: int = 4) -> None:
    """The first groups as JSON lines, one for each response: what was written, the verdict, reward, advantage and length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rollouts = rollouts[:groups]
    texts, answers = text_list(rollouts, "response_text"), text_list(rollouts, "answer")
    numbers = {
        name: rollouts[name].reshape(-1).tolist()
        for name in ("prompt_index", "correct", "reward", "response_length", "truncated", "policy_version")
    }
    advantages = rollouts["advantage"]
    numbers["advantage"] = (advantages if advantages.ndim == 2 else advantages.mean(-1)).reshape(-1).tolist()
    with path.open("w") as file:
        for row, (text, answer) in enumerate(zip(texts, answers, strict=True)):
            entry = {name: values[row] for name, values in numbers.items()} | {"answer": answer, "response": text}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
