"""Streams: anyio byte streams over security contexts and record connections."""
