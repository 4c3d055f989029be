"""What can go wrong between a board and its server, on purpose.

`exchange` has faults of the provisioning exchange over MQTT, `steps` one fault of any message of any
protocol. Power cuts are `targets.virtual.Cut`.
"""
