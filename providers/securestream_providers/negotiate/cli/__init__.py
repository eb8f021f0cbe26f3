"""What Negotiate brings to the demonstration."""
