"""How Kerberos messages are shown: keys that open them, their fields by name, the PAC, tokens that protect messages."""
