"""vLLM's own server as an engine: how it is started, and a client of a fleet of them. Nothing here imports vLLM."""
