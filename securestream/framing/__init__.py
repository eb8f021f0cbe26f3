"""Framings: how tokens and sealed data are carried on a particular wire, octets in, frames out."""
