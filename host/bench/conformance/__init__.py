"""Does a server, or a board, keep the provisioning contract? Named checks against any of either.

Nothing here looks inside what it checks: a server is spoken to as a device does, a board is heard by the server
it speaks to.
"""
