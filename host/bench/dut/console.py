"""Settings of a running board, read and changed by its console commands (docs/console.md)."""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from bench.dut.board import Board
from bench.errors import BenchError, UsageError

_ANSWER_S = 4.0
_RESTART_S = 60.0
_ATTEMPTS = 3
_LINE_LIMIT = 512
# The echo of what is typed: at the prompt, in an unfinished statement, and in paste mode.
_PROMPT = re.compile(r"(>>> |\.\.\. |=== ).*\bfirstboot ")
_ERROR = "error: "
_STORED = "Stored in flash."
_LEFT = "Stored in flash. What is left to do: "
_RESTARTS = "The board restarts."
_DROPPED = ("A line has at most", "That line is not UTF-8")
_HIDDEN = {"(set)": True, "(not set)": False}
_COMPLAINT = "Invalid settings: "


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting as the console shows it: its value, or only whether it is set if it is a secret."""

    name: str
    value: Any = None
    is_secret: bool = False
    is_set: bool = True


class ConsoleClient:
    """A client of the firmware's console commands on one board. Events meanwhile are passed over."""

    def __init__(self, board: Board) -> None:
        """Make a client for a board that is on."""
        self._board = board

    def settings(self, name: str = "") -> tuple[list[Setting], str]:
        """Return all settings, or one of them.

        Args:
            name: The setting; "" for all.

        Returns:
            The settings, and the board's message about invalid settings; "" if they are valid.

        Raises:
            BenchError: The board does not answer, or answers with an error, e.g. that there is no such setting.
            UsageError: The name cannot be typed on a console.
        """
        answer = self._query(_command("set", *([name] if name else [])))
        complaint = next((line.removeprefix(_COMPLAINT) for line in answer if line.startswith(_COMPLAINT)), "")
        return [found for line in answer if (found := _setting(line))], complaint

    def change(self, name: str, value: str | None) -> str:
        """Change a setting, and verify it after the board's restart.

        Args:
            name: The setting.
            value: Its value; None removes it from the board's file, so that its default applies.

        Returns:
            The steps that are left before the board restarts, as it names them; "" if it has restarted.

        Raises:
            BenchError: The board does not answer, answers with an error, or holds another value afterwards.
            UsageError: The name or value cannot be typed on a console.
        """
        command = _command("set", name, "--default" if value is None else value)
        # the change is typed once: the board has to hear it, and does not while it boots
        self._query(_command("status"))
        answer = self._execute(command)
        if _RESTARTS not in answer:
            return answer.removeprefix(_LEFT)
        self._await_restart()
        if value is not None:
            self._verify(name, value)
        return ""

    def _check_prompt(self, text: str) -> None:
        """Raise BenchError if a line is the echo of MicroPython's prompt, which takes our commands for Python."""
        if _PROMPT.match(text):
            raise BenchError(
                f"{self._board.name}: the board stands at MicroPython's prompt, so its firmware does not run: restart "
                f"it, e.g. with bench monitor --port {self._board.name} --reset"
            )

    def _query(self, command: str) -> list[str]:
        """Return the answer to a command that changes nothing: it may be sent several times."""
        for _ in range(_ATTEMPTS):
            # the answer ends where an unknown command is echoed
            end = secrets.token_hex(4)
            self._board.send_line(command)
            self._board.send_line(f"firstboot end {end}")
            answer: list[str] = []
            for event in self._board.follow(_ANSWER_S):
                text = event["text"] if event["event"] == "console" else ""
                self._check_prompt(text)
                if end in text:
                    return _checked(answer)
                if text.startswith("firstboot "):  # our command's echo: lines before it answer an earlier attempt
                    answer = []
                elif text:
                    answer.append(text)
        raise BenchError(
            f"{self._board.name}: the board does not answer on its console: is the firmware running, and "
            f"board.console not false? See bench monitor --port {self._board.name}"
        )

    def _execute(self, command: str) -> str:
        """Send a command once; return the line that confirms it."""
        self._board.send_line(command)
        echoed = False
        for event in self._board.follow(_ANSWER_S * _ATTEMPTS):
            text = event["text"] if event["event"] == "console" else ""
            self._check_prompt(text)
            echoed = echoed or text.startswith("firstboot set")
            if echoed and (text.startswith((_ERROR, *_DROPPED))):
                _checked([text])
            if text.startswith(_STORED):
                return text
        raise BenchError(f"{self._board.name}: the board did not say whether it stored the setting: ask it again")

    def _await_restart(self) -> None:
        for event in self._board.follow(_RESTART_S):
            if event["event"] in ("boot", "port_back"):  # a USB of the chip's own is back after the boot
                return
        raise BenchError(f"{self._board.name}: stored, but the board did not start again within {_RESTART_S:.0f} s")

    def _verify(self, name: str, value: str) -> None:
        """Raise BenchError unless the board holds this value. A secret is compared, and shown nowhere."""
        found = next((held for line in self._query(_command("set", name, "--show")) if (held := _setting(line))), None)
        if found is None or found.name != name or found.value not in (value, _parsed(value)):
            raise BenchError(f"{self._board.name}: {name} is not what was typed: the line loses bytes; set it again")


def _command(*words: str) -> str:
    """Return a line for the board's console. Raises UsageError for words that it cannot hold."""
    for number, word in enumerate(words):
        if any(ord(char) < ord(" ") for char in word):
            raise UsageError("a setting's name or value has control characters in it, which no console line can hold")
        if word.startswith("--") and (number < len(words) - 1 or word not in ("--default", "--show")):
            raise UsageError(f"no name or value can begin with --, as {words[1]} would")
    line = " ".join(["firstboot", *map(_quoted, words)])
    if len(line.encode(errors="surrogateescape")) > _LINE_LIMIT:
        raise UsageError(f"that is longer than the {_LINE_LIMIT} bytes of a console line: flash the board with it")
    return line


def _quoted(word: str) -> str:
    if word and " " not in word and not word.startswith('"'):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _checked(answer: list[str]) -> list[str]:
    for line in answer:
        if line.startswith((_ERROR, *_DROPPED)):
            raise BenchError(f"the board says: {line.removeprefix(_ERROR)}")
    return answer


def _setting(line: str) -> Setting | None:
    """Return the setting in a line of an answer, if it is one: `  wifi.ssid = "Hall 3"`."""
    name, separator, shown = line.partition(" = ")
    if not separator or not name.startswith("  "):
        return None
    name = name.strip()
    if shown in _HIDDEN:
        return Setting(name=name, is_secret=True, is_set=_HIDDEN[shown])
    try:
        return Setting(name=name, value=json.loads(shown))
    except ValueError:  # a line that lost some bytes
        return None


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
