"""The commands of Kerberos."""
