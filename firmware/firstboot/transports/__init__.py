"""The provisioning exchange over each protocol: `exchange(settings, name, request) -> payload`.

`request` is the text to send; the answer's payload is returned as it came. Without an answer it raises
NetworkError or a subclass, which says nothing about what the server did. Before anything is sent it raises
PlaintextRefused, and as `tls.prepare` does.
"""
