"""Commands that talk to a running server from outside, as any feed or reader could.

They use what the contract promises and nothing of the server but the wire's line format.
"""
