"""Kerberos as a plain library: cryptography, messages, file formats. No provider, no effect, no I/O."""
