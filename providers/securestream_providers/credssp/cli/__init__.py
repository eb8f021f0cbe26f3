"""What CredSSP brings to the demonstration."""
