"""What Digest brings to the demonstration."""
