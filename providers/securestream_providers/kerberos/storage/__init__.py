"""The edge of Kerberos to files: configuration, keytabs, credential caches, and what is kept in memory."""
