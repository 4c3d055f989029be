# MicroPython runs this first, then main.py, which does everything. A board that was updated over the air begins with
# the newest update that is in force; whatever is wrong with that, with the files of its flash.
try:
    __import__("os").stat("/trees.0")
except OSError:
    pass  # it never was updated
else:
    try:
        __import__("firstboot.update.trees").update.trees.begin()
    except Exception as error:
        print('{"event": "crash", "ms": 0, "detail": "boot.py: %s"}' % type(error).__name__)
