"""The provisioning contract of a server, as devices see it: checks against any server, with no access to it but theirs.

What the server is asked for is what a device asks for; it is heard byte by byte. Where ThingsBoard departs from a
standard the contract is ThingsBoard's, and where a departure does no device any harm both hold.
"""
