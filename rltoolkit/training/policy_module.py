"""The Lightning module: one call of ``training_step`` is one optimizer step on one mini-batch.

No rewards, filters or engines here: a mini-batch comes in with its advantages, an updated policy comes out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal, cast

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.optim.lr_scheduler import LRScheduler

from rltoolkit import old_log_probs, sampling_mask
from rltoolkit.clip_strategy import StepClipStrategy
from rltoolkit.kl_penalty import KLPenalty, subtract_kl
from rltoolkit.loss_aggregator import Totals
from rltoolkit.objective import ObjectiveOutput, PolicyObjective, means
from rltoolkit.policy.lora import whole
from rltoolkit.policy.policy import PolicyModel, TokenStatistics
from rltoolkit.policy.sharded_loading import read_weights
from rltoolkit.rollout_batch import with_entries
from rltoolkit.run.config import OptimizerConfig
from rltoolkit.sampling_mask import SamplingMask
from rltoolkit.training.errors import NotFinite
from rltoolkit.training.micro_batches import crop, micro_batches_of_ranks
from rltoolkit.training.token_record import TokenRecord

log = logging.getLogger(__name__)

Scorer = Literal["policy", "reference", "teacher"]
"""Whose log-probs are asked for."""


class PolicyModule(L.LightningModule):
    """Trains a policy with any objective, sharded with FSDP2.

    Args:
        policy: the model to train; its parameters are the master weights (float32).
        objective: what an optimizer step minimises.
        optimizer, warmup_optimizer_steps: AdamW's settings and the length of the linear warm-up.
        temperature: the sampling temperature, which divides the logits here too.
        micro_batch_tokens: budget of one forward and backward pass.
        compute_dtype: of forward and backward, by torch's name.
        max_skipped_steps: non-finite steps in a row that are borne with.
        reference: a frozen policy for the KL penalty, where it needs one; in ``compute_dtype``, as the policy computes.
        reference_every: optimizer steps after which the reference becomes a copy of the policy; 0: never.
        reward_penalty: the KL penalty where it lowers the reward.
        teacher: a frozen policy that the advantage estimator compares with, where it has one; likewise in ``compute_dtype``.
    """

    def __init__(
        self,
        *,
        policy: PolicyModel,
        objective: PolicyObjective,
        optimizer: OptimizerConfig,
        warmup_optimizer_steps: int,
        temperature: float,
        micro_batch_tokens: int,
        compute_dtype: str = "float32",
        max_skipped_steps: int = 3,
        reference: PolicyModel | None = None,
        reference_every: int = 0,
        reward_penalty: KLPenalty | None = None,
        teacher: PolicyModel | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.objective = objective
        self.optimizer_config = optimizer
        self.warmup_optimizer_steps = warmup_optimizer_steps
        self.temperature = temperature
        self.micro_batch_tokens = micro_batch_tokens
        self.compute_dtype: torch.dtype = getattr(torch, compute_dtype)
        self.max_skipped_steps = max_skipped_steps
        self.reward_penalty = reward_penalty
        self.reference_every = reference_every
        # in a dictionary, out of nn.Module's sight and so of a checkpoint, unless it changes
        self._frozen = {name: model for name, model in (("reference", reference), ("teacher", teacher)) if model is not None}
        if reference is not None and reference_every:
            self.reference = reference
        self.step_metrics: dict[str, float] = {}
        self.token_record: TokenRecord | None = None
        """what the last optimizer step made of the tokens of logged rows"""
        self.not_finite_in_a_row = 0
        self._configured = False

    # --- Lightning's hooks ---------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Shard every decoder layer, then the rest, over the data-parallel ranks; one rank in full precision needs no FSDP."""
        if self._configured:
            return
        self._configured = True
        dtype = self.compute_dtype
        device = self.trainer.strategy.root_device  # self.device is still the CPU here
        if self.trainer.world_size > 1 or dtype != torch.float32:
            mixed = MixedPrecisionPolicy() if dtype == torch.float32 else MixedPrecisionPolicy(dtype, torch.float32)
            self._shard(self.policy, mixed)
        if self.policy.unread is not None:
            read_weights(self.policy, device)
        for frozen in self._frozen.values():
            if frozen.unread is not None:
                self._shard(frozen, MixedPrecisionPolicy())
                read_weights(frozen, device)
            frozen.to(device).requires_grad_(False).eval()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a linear warm-up, then a constant learning rate."""
        config = self.optimizer_config
        optimizer = torch.optim.AdamW(
            [parameter for parameter in self.policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            weight_decay=config.weight_decay,
            fused=True,
        )
        warmup = self.warmup_optimizer_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(warmup, 1)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}

    def training_step(self, batch: TensorDict, batch_idx: int) -> None:
        """One optimizer step on the rows of ``batch`` [N]; every rank holds all N rows and computes its share.

        A step without a trained token, or with a loss or gradient that is not finite, leaves the weights as they are and is
        counted. Raises NotFinite after ``max_skipped_steps`` non-finite steps in a row.
        """
        optimizer, schedule = cast(LightningOptimizer, self.optimizers()), cast(LRScheduler, self.lr_schedulers())
        if not batch["loss_mask"].any():
            self.step_metrics, self.token_record = {"steps_without_tokens": 1.0}, None
            return
        optimizer.zero_grad()
        loss, metrics = self._accumulate_gradients(batch)
        norm = whole(torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.optimizer_config.gradient_clip))
        self.step_metrics = {
            **metrics,
            "loss": loss,
            "gradient_norm": float(norm),
            "learning_rate": float(schedule.get_last_lr()[0]),
        }
        if not (torch.isfinite(norm) and torch.isfinite(torch.tensor(loss))):
            self._skip_not_finite(batch, loss, float(norm))
            return
        self.not_finite_in_a_row = 0
        optimizer.step()
        schedule.step()
        if self.reference_every and self.trainer.global_step % self.reference_every == 0:
            self._reshard()
            self._frozen["reference"].copy_weights(self.policy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the number of ranks."""
        checkpoint["world_size"] = self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say so when the ranks are not as many as they were: sums are then added up in another order."""
        before, now = checkpoint["world_size"], self.trainer.world_size
        if before != now and self.trainer.is_global_zero:
            log.warning(
                "continued on %d processes, the checkpoint was written by %d: weights and optimizer are dealt out anew; "
                "the run no longer equals an uninterrupted one to the bit, only up to rounding", now, before,
            )  # fmt: skip

    # --- what others call ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self, batch: TensorDict, mask_key: str = "loss_mask", by: Scorer = "policy") -> Tensor:
        """Log-probs [N, T] of the tokens under a mask, by the policy as it is now or by a frozen one; the ranks share the rows."""
        model, came_from = self.policy if by == "policy" else self._frozen[by], batch[mask_key].device
        batch = batch.to(self.device)  # a new rollout step lies in main memory
        dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)
        log_probs = torch.zeros(batch[mask_key].shape, dtype=dtype, device=self.device)
        for rows in self._my_micro_batches(model, batch, mask_key):
            micro = crop(batch[rows])
            statistics = self._statistics(model, micro, mask_key)
            if len(rows):  # an empty micro-batch only keeps the ranks' collectives in step
                log_probs[rows, : statistics.log_probs.shape[1]] = statistics.log_probs
        return self._over_ranks(log_probs, "sum").to(came_from)

    def before_advantages(self, rollouts: TensorDict) -> TensorDict:
        """Rollouts [P, G] with what frozen models have to say of them: a reward that is less by the KL to the reference, where
        ``reward_penalty`` asks for it, and the teacher's log-probs, where there is one."""
        if self.reward_penalty is None and "teacher" not in self._frozen:
            return rollouts
        rows = rollouts.select("input_ids", "response_mask", *sampling_mask.KEYS, strict=False).reshape(-1)
        if self.reward_penalty is not None:
            reference = self.score(rows, mask_key="response_mask", by="reference")
            rollouts = subtract_kl(rollouts, reference.reshape(rollouts["response_mask"].shape), self.reward_penalty)
        if "teacher" in self._frozen:
            teacher = self.score(rows, mask_key="response_mask", by="teacher")
            rollouts = with_entries(rollouts, teacher_log_probs=teacher.reshape(rollouts["response_mask"].shape))
        return rollouts

    def full_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole tensor) of every parameter; a collective, so every rank has to iterate."""
        self._reshard()
        return self.policy.hf_weights()

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _shard(self, model: PolicyModel, mixed: MixedPrecisionPolicy) -> None:
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        for layer in model.decoder_layers:
            fully_shard(layer, mesh=mesh, mp_policy=mixed, reshard_after_forward=not self._alone)
        fully_shard(model, mesh=mesh, mp_policy=mixed)

    def _reshard(self) -> None:
        """Leave no weights gathered: those were rounded to the compute dtype."""
        for part in self.policy.modules():
            if isinstance(part, FSDPModule):
                part.reshard()

    @property
    def _alone(self) -> bool:
        """One rank holds all weights, so it casts them to the compute dtype once per optimizer step instead of once per forward."""
        return self.trainer.world_size == 1

    def _accumulate_gradients(self, batch: TensorDict) -> tuple[float, dict[str, float]]:
        """Backward over this rank's micro-batches; the loss and the metrics of the whole step, the same on every rank."""
        mask = batch["loss_mask"]
        aggregator = self.objective.loss_aggregator
        batch["weights"] = aggregator.weights(mask, Totals.of(mask, batch["group_index"]))
        if getattr(self.objective.clip_strategy, "scope", "token") == "step":
            batch["selected"] = self._select(batch)
        if self.objective.kl_penalty.reference == "model":
            batch["reference_log_probs"] = self.score(batch, by="reference")
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        sums: dict[str, Tensor] = {}
        maxima: dict[str, Tensor] = {}
        self.token_record = TokenRecord(batch)
        micro_batches = self._my_micro_batches(self.policy, batch, "loss_mask")
        for index, rows in enumerate(micro_batches, start=1):
            if isinstance(self.policy, FSDPModule):
                self.policy.set_reshard_after_backward(not self._alone or index == len(micro_batches))
            micro = crop(batch[rows])
            statistics = self._statistics(self.policy, micro, "loss_mask")
            output = self._objective(micro, statistics)
            # FSDP averages gradients over the ranks, while the weights already make the ranks' losses add up
            self.manual_backward(output.loss * self.trainer.world_size)
            loss += output.loss.detach()
            self.token_record.take(rows, output.tokens)
            for name, value in output.sums.items():
                sums[name] = sums[name] + value if name in sums else value
            for name, value in output.maxima.items():
                maxima[name] = torch.maximum(maxima[name], value) if name in maxima else value
        self.token_record.over_ranks(lambda share: self._over_ranks(share, "sum"))
        totals = dict(zip(sums, self._over_ranks(torch.stack(list(sums.values())), "sum").tolist(), strict=True))
        largest = dict(zip(maxima, self._over_ranks(torch.stack(list(maxima.values())), "max").tolist(), strict=True))
        return float(self._over_ranks(loss, "sum")), {**means(totals, int(mask.sum())), **largest}

    def _objective(self, micro: TensorDict, statistics: TokenStatistics) -> ObjectiveOutput:
        log_probs = statistics.log_probs
        return self.objective(
            log_probs=log_probs,
            old_log_probs=old_log_probs.within_update(micro, log_probs),
            advantages=micro["advantage"],
            mask=micro["loss_mask"],
            weights=micro["weights"],
            rollout_log_probs=micro["rollout_log_probs"],
            reference_log_probs=micro.get("reference_log_probs", None),
            entropy=statistics.entropy,
            selected=micro.get("selected", None),
        )

    def _select(self, batch: TensorDict) -> Tensor:
        """Tokens that a step-wide clip strategy picks, from log-probs of the whole step."""
        log_probs = self.score(batch)
        advantages = batch["advantage"]
        if advantages.ndim == 1:
            advantages = advantages[:, None].expand_as(log_probs)
        strategy = cast(StepClipStrategy, self.objective.clip_strategy)
        return strategy.select(log_probs, old_log_probs.within_update(batch, log_probs), advantages, batch["loss_mask"])

    def _statistics(self, model: PolicyModel, micro: TensorDict, mask_key: str) -> TokenStatistics:
        return model(micro["input_ids"], micro[mask_key], self.temperature, SamplingMask.of_rows(micro))

    def _my_micro_batches(self, model: PolicyModel, batch: TensorDict, mask_key: str) -> list[Tensor]:
        return micro_batches_of_ranks(
            batch["input_ids"], batch[mask_key], model.layout, self.micro_batch_tokens, self.trainer.world_size
        )[self.trainer.global_rank]

    def _over_ranks(self, tensor: Tensor, operation: str) -> Tensor:
        return self.trainer.strategy.reduce(tensor, reduce_op=operation) if self.trainer.world_size > 1 else tensor

    def _skip_not_finite(self, batch: TensorDict, loss: float, norm: float) -> None:
        self.not_finite_in_a_row += 1
        self.step_metrics["steps_not_finite"] = 1.0
        path = f"{self.trainer.default_root_dir}/not_finite_step_{self.trainer.global_step}_{self.not_finite_in_a_row}.pt"
        if self.trainer.is_global_zero:
            torch.save(batch.cpu().to_dict(), path)
        if self.not_finite_in_a_row >= self.max_skipped_steps:
            raise NotFinite(
                f"{self.not_finite_in_a_row} optimizer steps in a row had a loss ({loss}) or gradient norm ({norm}) that is "
                f"not finite (trainer.max_skipped_steps={self.max_skipped_steps}). No such step was applied; their "
                f"batches are in {self.trainer.default_root_dir}, the last one in {path}"
            )
