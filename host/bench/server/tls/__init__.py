"""TLS: the server's certificate, the contexts that use it, and reading clients' certificates."""
