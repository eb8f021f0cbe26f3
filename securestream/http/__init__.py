"""HTTP authentication at both ends: fields, schemes, client and server as values; adapters for libraries."""
