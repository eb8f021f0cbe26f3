"""Digest: messages, nonces, counts, both roles over HTTP, and SASL."""
