"""Components for rltoolkit; pyproject.toml says which, and rltoolkit imports each module by itself."""
