"""Serial ports: names and addresses, locks, connections, boot modes, and MicroPython's raw REPL."""
