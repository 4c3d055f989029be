"""Benchmarks of the server and of the device package: see README.md in this folder."""
