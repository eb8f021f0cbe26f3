"""Tests against implementations that nobody here wrote."""
