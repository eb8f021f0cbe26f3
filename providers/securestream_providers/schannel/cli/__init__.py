"""What Schannel brings to the demonstration."""
