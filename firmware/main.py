# Hands over to the package, which does not raise. Ctrl-C still reaches the REPL.
try:
    from firstboot import app
except Exception as error:
    print('{"event": "crash", "ms": 0, "detail": "main.py: %s"}' % type(error).__name__)
else:
    app.main()
