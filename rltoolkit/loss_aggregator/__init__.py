"""Loss aggregators: how the losses of tokens become the loss of one optimizer step."""

from rltoolkit.loss_aggregator.base import LossAggregator, Totals
from rltoolkit.loss_aggregator.fixed_length import FixedLength
from rltoolkit.loss_aggregator.prompt_token_mean import PromptTokenMean
from rltoolkit.loss_aggregator.sequence_mean import SequenceMean
from rltoolkit.loss_aggregator.sequence_sum import SequenceSum
from rltoolkit.loss_aggregator.token_mean import TokenMean

__all__ = ["FixedLength", "LossAggregator", "PromptTokenMean", "SequenceMean", "SequenceSum", "TokenMean", "Totals"]
