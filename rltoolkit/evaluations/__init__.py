"""``python -m rltoolkit.evaluate``: benchmarks sampled response by response, resumed, scored, drawn, and models compared."""
