"""TLS: the server's certificate, the contexts it is shown with, and what clients' certificates say."""
