"""Configuration files; published inside the package as rltoolkit.conf."""
