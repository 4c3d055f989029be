# Runs the main.py of an update if one is in force, and hands over to the package otherwise, which does not raise.
# Ctrl-C still reaches the REPL.
import sys

try:
    if __name__ == "__main__" and sys.path[0]:
        import main  # noqa: F401, PLW0406 - the update's; this file again if that has none
    else:
        from firstboot import app

        app.main()
except Exception as error:
    if __name__ != "__main__":
        raise
    print('{"event": "crash", "ms": 0, "detail": "main.py: %s"}' % type(error).__name__)
    if sys.path[0]:  # what is in the flash itself looks after that
        sys.path[:] = [each for each in sys.path if each[:4] not in ("/fw.", "/sw.")]
        for name in list(sys.modules):
            if name.split(".")[0] == "firstboot":
                del sys.modules[name]
        from firstboot.update import trees

        trees.crashed(error)
