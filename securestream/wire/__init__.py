"""Octets and messages: bounds-checked readers, fixed layouts and DER, free of any I/O."""
