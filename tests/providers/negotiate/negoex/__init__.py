"""NEGOEX: messages, both roles, and everything that a peer may do to them."""
