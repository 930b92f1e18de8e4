"""Training: the Lightning side of the toolkit."""
