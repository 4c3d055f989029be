"""Fleets: many devices at once against one server, as boards with a flash of their own or as their protocol alone."""
