"""What can go wrong between a board and its server, at the server and on the board, on purpose.

`link` is a network that is steered: what a message meets, at which step, for how long (`plan`). `exchange` has faults
of the provisioning exchange over MQTT.
"""
