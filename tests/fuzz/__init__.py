"""Mutated valid messages against every parser."""
