"""Fleets: many devices at once against one server, as boards with a flash of their own or as their protocol alone.

Measurements of first boots, and the statistics and plots of both.
"""
