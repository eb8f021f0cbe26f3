"""An embedded KDC: the core without sockets, its stores, its listeners (RFC 4120)."""
