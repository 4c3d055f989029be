"""Serial ports: choosing, locking and opening one, a board's connection on it, its raw REPL and boot mode, RFC 2217."""
