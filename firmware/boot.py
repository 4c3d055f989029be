# MicroPython runs this first, then main.py. Everything is main.py's.
