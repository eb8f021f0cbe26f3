"""What NTLM brings to the demonstration."""
