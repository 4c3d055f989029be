"""Rounds of `bench measure`: how they are followed, and their table and plots."""

import importlib
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.cli.commands import measure as cli_measure
from bench.cli.render import tables
from bench.contract.events import MILESTONES
from bench.errors import BenchError, UsageError
from bench.load import host_info, plots
from bench.load.boot_times import phases_ms, watch
from bench.load.statistics import Summary


class Script:
    """A board that says this."""

    def __init__(self, *events):
        self._events = events
        self.started_s = time.monotonic()

    def follow(self, _timeout_s):
        for ms, (name, *fields) in enumerate(self._events):
            yield {"event": name, "ms": ms, **(fields[0] if fields else {})}


BOOT = ("boot", {"firmware": "0.1.0", "micropython": "1.29.0"})
ONLINE = (("provisioned",), ("connected", {"name": "x"}), ("telemetry",))


def test_round_without_output_failed():
    assert watch(Script(), 1.0).error == "not online, last heard: nothing"


def test_what_is_printed_before_the_first_line_of_the_firmware_does_not_count():
    found = watch(Script(("telemetry",), ("state", {"state": "rejected"}), BOOT, ("link_up",), *ONLINE), 1.0)
    assert not found.error
    assert list(found.at_ms) == ["boot", "link_up", "provisioned", "connected", "telemetry"]
    assert found.own_ms["boot"] == 2
    assert (found.reported["firmware"], found.reported["name"]) == ("0.1.0", "x")


def test_first_time_of_a_step_counts_and_attempts_are_counted():
    again = (("link_up",), ("offline", {"detail": "why"}), ("retry",), ("link_up",))
    found = watch(Script(BOOT, *again, *ONLINE, ("retry",)), 1.0)
    assert found.attempts == 2
    assert found.own_ms["link_up"] == 1
    assert not found.error


@pytest.mark.parametrize("state", ["rejected", "error"])
def test_round_in_which_a_person_has_to_look_failed_at_once(state):
    found = watch(Script(BOOT, ("not_found", {"fix": "compare"}), ("state", {"state": state}), *ONLINE), 1.0)
    assert "telemetry" not in found.at_ms
    assert found.error == "not online, last heard: not_found (compare)"


def test_crash_is_a_failure():
    assert watch(Script(BOOT, ("crash", {"kind": "MemoryError"}), *ONLINE), 1.0).error.endswith("crash (MemoryError)")


def test_wait_for_the_next_attempt_is_not_why_a_round_failed():
    found = watch(Script(BOOT, ("offline", {"detail": "no answer"}), ("state", {"state": "offline"}), ("retry",)), 1.0)
    assert found.error == "not online, last heard: offline (no answer)"


def test_reset_of_the_board_s_own_is_not_another_power_on():
    class Resets(Script):
        def follow(self, timeout_s):
            for event in super().follow(timeout_s):
                if event["event"] == "retry":  # what a power cycle says of its process, which is another one now
                    self.started_s += 1000
                yield event

    found = watch(Resets(BOOT, ("link_up",), ("retry",), BOOT, *ONLINE), 1.0)
    assert list(found.at_ms.values()) == sorted(found.at_ms.values())
    assert found.at_ms["boot"] >= 0


def test_terminal_that_is_too_narrow_cuts_no_figure_and_no_name(monkeypatch, capsys):
    """It is as wide as the longest name of a step."""
    monkeypatch.setattr(tables, "console", Console(width=14, force_terminal=True, soft_wrap=True, highlight=False))
    moments = {step: 1000.0 * number + 12345.6 for number, step in enumerate(MILESTONES)}
    steps = {step: Summary.of([ms]).rounded(3) for step, ms in moments.items()}
    cli_measure._show(
        {
            **dict.fromkeys(("target", "transport", "tls", "credentials", "micropython"), "x"),
            "n": 1,
            "attempts": [1],
            "failed": [],
            "conditions": host_info.conditions(),
            **dict.fromkeys(("from_power_on_ms", "phases_ms", "by_own_clock_ms"), steps),
        }
    )
    output = capsys.readouterr().out
    assert "…" not in output
    for step, ms in moments.items():
        (line,) = (each for each in output.splitlines() if each.startswith(cli_measure._WORDS[step]))
        assert line.split()[-7:] == [*[f"{ms:.1f}"] * 6, f"{ms:.0f}"]
    assert max(map(len, output.splitlines())) < 80  # real boards take so long, and most terminals are so wide


@given(
    st.lists(st.floats(0, 1e5), min_size=len(MILESTONES), max_size=len(MILESTONES)),
    st.sets(st.sampled_from(MILESTONES)),
)
def test_phases_add_up_to_the_whole(moments, missing):
    ordered = {step: ms for step, ms in zip(MILESTONES, sorted(moments), strict=True) if step not in missing}
    found = phases_ms(ordered)
    assert list(found) == list(ordered)
    assert all(took >= 0 for took in found.values())
    assert sum(found.values()) == pytest.approx(max(ordered.values(), default=0.0))


def test_steps_are_in_the_order_in_which_boards_reach_them():
    assert MILESTONES[0] == "boot"
    assert MILESTONES[-1] == "telemetry"


# pictures

ROUNDS = [{"first line": 20.0 + n, "link": 21.0 + 2 * n, "telemetry": 60.0 + 3 * n} for n in range(5)]


@pytest.mark.parametrize("name", ["x.gif", "x", "x.svg.txt", "nowhere/x.png", "folder.png"])
def test_file_that_would_be_no_picture_is_refused(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError):
        plots.check(tmp_path / name)


@pytest.mark.parametrize(("suffix", "magic"), [(".svg", b"<?xml"), (".png", b"\x89PNG\r\n\x1a\n")])
def test_same_values_make_the_same_picture(tmp_path, suffix, magic):
    made = []
    for number in range(2):
        path = tmp_path / f"{number}{suffix}"
        plots.check(path)
        plots.phases(path, ROUNDS, title="First boot (n = 5)", unit="ms")
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert made[0].startswith(magic)


def test_picture_names_what_is_in_it(tmp_path):
    plots.phases(tmp_path / "p.svg", ROUNDS, title="First boot (n = 5)", unit="ms")
    plots.histogram(tmp_path / "h.svg", {"first boot": [1.0, 2.0], "back": []}, title="2 boards", unit="s")
    phases, histogram = ((tmp_path / f"{name}.svg").read_text() for name in "ph")
    for words in (
        "First boot (n = 5)",
        "to first line",
        "to telemetry",
        "time since power-on, ms",
        "share of the rounds",
    ):
        assert words in phases
    for words in ("2 boards", "p50 1.5 s", "max 2 s", "(n = 2)", "devices"):
        assert words in histogram
    assert "back" not in histogram


def test_step_that_not_every_round_had_is_not_drawn(tmp_path):
    rounds = [{**ROUNDS[0], "key made": 30.0}, *ROUNDS[1:]]
    plots.phases(tmp_path / "p.svg", rounds, title="x", unit="ms")
    assert "key made" not in (tmp_path / "p.svg").read_text()


def test_commands_start_without_what_draws():
    """It takes a second to import, and most commands draw nothing."""
    code = "import sys, bench.cli; sys.exit(bool({'matplotlib', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_histogram_of_nothing_is_a_picture_all_the_same(tmp_path):
    plots.histogram(tmp_path / "h.svg", {"first boot": []}, title="none came online", unit="s")
    assert "none came online" in (tmp_path / "h.svg").read_text()


def test_plots_without_matplotlib_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "bench.load.plots")
    with pytest.raises(BenchError, match=r"firstboot\[plots\]"):
        importlib.import_module("bench.load.plots")
