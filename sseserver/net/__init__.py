"""Shells around sockets: they translate callbacks of the event loop and decide nothing."""
