"""Warm restart: what a server knew is there again after it ended, one way or the other."""
