"""The streams, on both event loops."""
