# Runs first on every reset. The clock of the event lines starts here; everything else is main.py's.
try:
    pass
except Exception as error:
    print('{"event": "crash", "ms": 0, "detail": "boot.py: %s"}' % type(error).__name__)
