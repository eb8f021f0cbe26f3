"""Services: what performs effects that several mechanisms share."""
