"""Boards under test: virtual ones, and real ones on serial ports, behind one interface."""
