"""What a rollout step cost: the collector's counters and the ratios that follow from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Counters:
    """What one rollout step cost and what became of its groups.

    ``verifier_failures`` counts checks that crashed or ran into a limit, where the reward function keeps count of them; their
    responses are judged wrong.
    """

    generated_groups: int = 0
    kept_groups: int = 0
    rejected_all_correct: int = 0
    rejected_all_wrong: int = 0
    rejected_other: int = 0
    carried_in: int = 0
    carried_out: int = 0
    dropped_groups: int = 0
    filled_groups: int = 0
    verifier_failures: int = 0
    generated_responses: int = 0
    trained_responses: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the generated groups that passed the filters."""
        rejected = self.rejected_all_correct + self.rejected_all_wrong + self.rejected_other
        return 1 - rejected / self.generated_groups if self.generated_groups else 1.0

    def metrics(self) -> dict[str, float]:
        """The counters and the ratios that follow from them, for the log."""
        return {
            **asdict(self),
            "acceptance_rate": self.acceptance_rate,
            "generated_per_trained_group": self.generated_responses / max(self.trained_responses, 1),
            "generated_per_trained_token": self.generated_tokens / max(self.trained_tokens, 1),
        }
