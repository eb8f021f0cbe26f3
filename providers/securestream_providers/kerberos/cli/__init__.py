"""Commands that Kerberos brings."""
