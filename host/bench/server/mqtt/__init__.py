"""The MQTT side: a gateway for devices, not a broker. Nothing one device says reaches another."""
