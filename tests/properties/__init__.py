"""Properties that hold for every value."""
