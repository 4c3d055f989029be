"""The four places a server runs, one module each.

- `foreground`: in this process until a signal ends it: `bench serve`.
- `subprocess`: `bench serve` in a process of its own: for commands and benchmarks.
- `thread`: in a thread of this process, with its registry and journal at hand: for tests and the conformance suite.
- `in_process`: without sockets, as an ASGI transport: for commands that run while no server does.
"""
