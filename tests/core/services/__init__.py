"""Tests of securestream.services."""
