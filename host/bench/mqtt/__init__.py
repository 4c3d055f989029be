"""MQTT 3.1, 3.1.1 and 5 in bytes: the one codec of server, light devices, faults and conformance of boards.

Imports no other room.
"""
