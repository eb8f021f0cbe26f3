"""NTLM: messages, cryptography, both roles, contexts, logons."""
