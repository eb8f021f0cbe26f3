"""SASL: the mechanisms, the choice and the exchange."""
