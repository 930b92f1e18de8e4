"""The policy network: log-probs of chosen tokens, the layout of their rows, the head, adapters, and how models are loaded."""
