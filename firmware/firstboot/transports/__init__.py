"""The provisioning exchange over each protocol: `exchange(settings, name, request) -> payload`.

`request` is the text to send, the answer's payload comes back as it is. Raises NetworkError or a
kind of it when there is no answer, which says nothing about what the server did; PlaintextRefused
before anything is sent, and what `tls.Tls` does.
"""
