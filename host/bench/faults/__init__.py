"""What can go wrong between a board and its server, at the server and on the board, on purpose.

`link` is a network that is steered (`plan`: what goes wrong, and when), `server` and `boards` have the faults of those,
by name. `chaos` puts them all together, in rounds that `rounds` draws. `exchange` has faults that know the provisioning
exchange over MQTT: a request that arrives after the next one, an answer that the server never gave.
"""
