"""The provisioning server: the registry behind MQTT, HTTP and CoAP.

A device's request takes one way: a transport (`mqtt`, `http`, `coap`) reads it from the wire and hands its payload with
its origin to `device_api`, which reads it (`device_json`), limits, decides by the `registry`, logs and counts it; the
transport writes the answer, or the error, in its own form. What an operator changes at the same time reaches the
transports through `presence`.
"""
