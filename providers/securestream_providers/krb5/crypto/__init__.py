"""The encryption types of Kerberos, one module a family (RFC 3961, 3962, 4757, 6803, 8009)."""
