"""Bytes to values and values to bytes. No I/O, no state of the server."""
