"""``make demo``: a secure echo between two processes for every package, its wire recorded, shown and tampered with."""
