"""The MQTT side: a gateway that answers each device on its own connection, not a broker."""
