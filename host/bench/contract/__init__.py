"""Contract between board and host: events and states, settings, kinds of credentials, proofs.

The firmware has copies of its own, which tests/contract compares with these.
"""
