"""vLLM behind the contract of a rollout engine; the only place that imports it."""
