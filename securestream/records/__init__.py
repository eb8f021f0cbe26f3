"""Record connections: TLS without I/O, on two engines."""
