"""What can go wrong between a board and its server, on purpose. Power cuts are `targets.virtual.Cut`."""
