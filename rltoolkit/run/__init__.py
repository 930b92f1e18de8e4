"""A run before it starts: its configuration, its components, its arithmetic, its folder, and sweeps of many."""
