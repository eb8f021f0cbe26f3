"""The security packages of this distribution, one folder each."""
