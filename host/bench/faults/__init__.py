"""Faults between a board and its server, at the server and on the board.

`network` is a network with faults, `server_faults` and `board_faults` have the faults of those, by name. `chaos` puts
them all together, in rounds that `chaos_scenario` draws. `exchange` has faults of the provisioning exchange over MQTT:
a request that arrives after the next one, an answer that the server never gave.
"""
