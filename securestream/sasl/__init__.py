"""SASL (RFC 4422): mechanisms as security packages, the choice among them, and their security layers."""
