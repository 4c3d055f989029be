"""MicroPython's REPL on the serial line, friendly and raw, while no program runs.

The unix port has no raw mode, so it is implemented here after MicroPython's pyexec.c. Lines end with CR LF
where pyexec.c sends that; the output of programs ends with LF, as everything else in the console's file.

Ctrl-C arrives as an interrupt, never as a byte.
"""

import gc
import io
import select
import sys

_CTRL_A, _CTRL_B, _CTRL_C, _CTRL_D, _CTRL_E = 1, 2, 3, 4, 5
_BACKSPACE, _NEWLINE, _RETURN, _ESCAPE, _DELETE = 8, 10, 13, 27, 127
_TAB = 9
_SPACE = 32

_HELP = 'Type "help()" for more information.'
_RAW_HELLO = "raw REPL; CTRL-B to exit\r\n"
_PASTE_HELLO = "\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== "
_SOFT_REBOOT = "MPY: soft reboot\r\n"
_END = "\x04"
# The bytes in flight to a board that receives a program in raw paste mode; at most two windows are open.
_WINDOW = 128
_COMPOUND = ("@", "if", "while", "for", "try", "with", "def", "class", "async")
_PAIRS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


class Repl:
    """The REPL over the globals of `/main.py`.

    Args:
        power: notified of a soft reset.
        machine: the board's name in the banner.
        names: the globals.
        raw: start in raw mode, as the last REPL ended in it.
    """

    def __init__(self, power, machine, names, raw):
        self._power = power
        self._machine = machine
        self._names = names
        self._raw = raw
        self._input = sys.stdin.buffer
        self._byte = bytearray(1)
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._owed = 0  # ends of parts that the sender of a program in raw mode still waits for

    def run(self):
        """Read and execute until a soft reset. Never returns."""
        self._enter(self._raw)
        while True:
            try:
                if self._raw:
                    self._read_raw()
                else:
                    self._read_line()
            except KeyboardInterrupt:  # between two programs: only the line just typed is lost
                self._write(_END * self._owed)
                self._owed = 0
            except SystemExit:
                self.reboot()
            except Exception as error:  # no memory left to read a line
                show(error)

    def reboot(self):
        """Make a soft reset. Never returns."""
        self._write(_SOFT_REBOOT)
        self._power.trace(reset="SOFT_RESET", raw=self._raw)
        self._power.off()

    def _enter(self, raw):
        self._raw = raw
        if raw:
            self._write(_RAW_HELLO)
        else:
            version = ".".join(str(part) for part in sys.implementation.version[:3])
            date = sys.version.rpartition(" on ")[2]
            self._write("MicroPython v%s on %s; %s\r\n%s\r\n" % (version, date, self._machine, _HELP))

    def _write(self, text):
        sys.stdout.write(text)

    def _read(self):
        # wait outside of the read: an interrupt in it would lose the byte
        try:
            for _ in self._poll.ipoll():
                self._input.readinto(self._byte)
        except KeyboardInterrupt:
            return _CTRL_C
        return self._byte[0]

    # raw mode

    def _read_raw(self):
        self._write(">")
        source = bytearray()
        while True:
            byte = self._read()
            if byte == _CTRL_A:
                if source and len(source) == 2 and source[0] == _CTRL_E:
                    return self._read_raw_paste(source[1])
                return self._enter(True)
            if byte == _CTRL_B:
                self._write("\r\n")
                return self._enter(False)
            if byte == _CTRL_C:
                source = bytearray()
            elif byte == _CTRL_D:
                break
            else:
                source = _with(source, byte)
        self._write("OK")
        if source == b"":
            self._write("\r\n")
            raise SystemExit
        self._execute(source, "exec")

    def _read_raw_paste(self, variant):
        if variant != 65:  # "A"
            self._write("R\x00")
            return
        self._write("R\x01")
        self._input_window()
        source = bytearray()
        window = _WINDOW
        while True:
            byte = self._read()
            if byte in (_CTRL_C, _CTRL_D):
                break
            source = _with(source, byte)
            window -= 1
            if not window:
                self._write("\x01")
                window = _WINDOW
        self._write(_END)
        self._execute("raise KeyboardInterrupt" if byte == _CTRL_C else source, "exec")

    def _input_window(self):
        # one window by its size, and one more
        sys.stdout.buffer.write(bytes((_WINDOW & 0xFF, _WINDOW >> 8, 1)))

    def _execute(self, source, kind):
        """Run a program, which is None if it was too long. In raw mode its output and its traceback end separately."""
        failure = None
        self._owed = 2 if self._raw else 0
        try:
            if source is None:
                raise MemoryError("memory allocation failed")
            exec(compile(bytes(source) if isinstance(source, bytearray) else source, "<stdin>", kind), self._names)
        except BaseException as error:
            failure = error
        self._end_part()
        if failure and not isinstance(failure, SystemExit):
            show(failure)
        self._end_part()
        if isinstance(failure, SystemExit):
            raise failure

    def _end_part(self):
        if self._owed:
            self._write(_END)
            self._owed -= 1

    # friendly mode

    def _read_line(self):
        text, byte = self._edit(">>> ")
        if byte == _CTRL_A:
            self._write("\r\n")
            return self._enter(True)
        if byte == _CTRL_B:
            self._write("\r\n")
            return self._enter(False)
        if byte == _CTRL_D:
            self._write("\r\n")
            raise SystemExit
        if byte == _CTRL_E:
            return self._read_paste()
        while byte != _CTRL_C and text and _continues(text):
            line, byte = self._edit("... ")
            if byte == _CTRL_D:
                break
            text += "\n" + line
        if byte == _CTRL_C:
            self._write("\r\n")
        elif text:
            self._execute(text, "single")

    def _edit(self, prompt):
        """Return a line and the byte that ended it; control characters except Ctrl-C only end an empty one."""
        self._write(prompt)
        line = bytearray()
        in_escape = False
        while True:
            byte = self._read()
            if byte == _CTRL_C or (byte <= _CTRL_E and not line):
                return "", byte
            if in_escape:
                in_escape = not (64 <= byte < 127 and byte != 91)  # until a letter
            elif byte == _ESCAPE:
                in_escape = True
            elif byte in (_RETURN, _NEWLINE):
                self._write("\r\n")
                return _text(line), byte
            elif byte in (_BACKSPACE, _DELETE):
                if line:
                    line = line[:-1]
                    self._write("\b \b")
            elif byte >= _SPACE or byte == _TAB:
                line.append(byte)
                sys.stdout.buffer.write(self._byte)

    def _read_paste(self):
        self._write(_PASTE_HELLO)
        source = bytearray()
        while True:
            byte = self._read()
            if byte == _CTRL_C:
                self._write("\r\n")
                return
            if byte == _CTRL_D:
                self._write("\r\n")
                return self._execute(source, "exec")
            source = _with(source, byte)
            if byte == _RETURN:
                self._write("\r\n=== ")
            else:
                sys.stdout.buffer.write(self._byte)


def show(error):
    """Print an exception as the board does: without our own frames around the program."""
    text = io.BytesIO()  # a program's names may not be UTF-8
    sys.print_exception(error, text)
    for line in text.getvalue().split(b"\n")[:-1]:
        if not (line.startswith(b'  File "repl.py"') or line.startswith(b'  File "chip.py"')):
            sys.stdout.buffer.write(line + b"\n")


def _with(source, byte):
    """Return the program with one byte more; None once it does not fit into the memory."""
    if source is not None:
        try:
            source.append(byte)
        except MemoryError:
            source = None
            gc.collect()
    return source


def _text(line):
    try:
        return line.decode()
    except UnicodeError:
        return "".join(chr(byte) if byte < 128 else "?" for byte in line)


def _continues(text):
    """Return whether a statement goes on in the next line: in a block, an open bracket or string.

    A block ends with an empty line.
    """
    depth = 0
    quote = ""
    at = 0
    while at < len(text):
        step = 1
        if quote:
            if text[at] == "\\":
                step = 2
            elif text[at : at + len(quote)] == quote or (len(quote) == 1 and text[at] == "\n"):
                step = len(quote)
                quote = ""
        elif text[at] in "'\"":
            quote = text[at : at + 3] if text[at : at + 3] == text[at] * 3 else text[at]
            step = len(quote)
        elif text[at] == "#":
            step = (text[at:] + "\n").find("\n")
        else:
            depth += _PAIRS.get(text[at], 0)
        at += step
    if depth > 0 or len(quote) == 3 or text.endswith("\\"):
        return True
    return any(_begins(text, word) for word in _COMPOUND) and not text.endswith("\n")


def _begins(text, word):
    rest = text[len(word) :]
    return text.startswith(word) and not (rest and (rest[0].isalpha() or rest[0].isdigit() or rest[0] == "_"))
