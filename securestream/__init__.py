"""The Windows security architecture (SSPI) for every operating system: authenticated, sealed streams."""
