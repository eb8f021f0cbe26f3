"""Both roles of a mechanism against each other, in memory, in every combination of their options."""
