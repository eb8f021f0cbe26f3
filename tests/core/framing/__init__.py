"""The framings."""
