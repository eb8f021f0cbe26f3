"""NEGOEX ([MS-NEGOEX]): negotiates packages that have a scheme GUID, with metadata and a proof of the negotiation."""
