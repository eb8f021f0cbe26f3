"""The foreign implementations: how each is installed, started and spoken to."""
