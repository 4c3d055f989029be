"""A faulty network: a proxy for TCP and UDP whose rules delay, change, lose or refuse traffic."""
