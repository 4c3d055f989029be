"""The files of `bench firmware build`: for a board's file system, and for a custom image."""

import subprocess
from pathlib import Path

import pytest

from bench import paths
from bench.flash import firmware
from bench.virtual import unix_port
from tests.support import micropython

MODULES = sorted(
    str(path.relative_to(paths.FIRMWARE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in (paths.FIRMWARE / "firstboot").rglob("*.py")
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("firmware")
    return out, firmware.build(out)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_from_the_built_tree(built, module):
    code = f"import sys, {module}\nprint(sys.modules[{module!r}].__file__)"
    done = subprocess.run(
        [unix_port.interpreter(), "-c", code],
        env=micropython.finding(built[0], unix_port.rom()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(str(built[0]))
    assert done.stdout.strip().endswith(".mpy")


def test_tree_is_what_boards_get_and_sizes_are_those_of_the_files(built):
    out, sizes = built
    written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    del written["manifest.py"], written["names.json"]
    assert written == firmware.files()
    assert sizes == {name: len(content) for name, content in written.items()}


def test_build_again_drops_modules_that_are_gone_and_nothing_else(tmp_path):
    firmware.build(tmp_path)
    (tmp_path / "firstboot" / "gone.mpy").write_bytes(b"")
    (tmp_path / "firstboot" / "notes.txt").write_bytes(b"")
    firmware.build(tmp_path)
    assert not (tmp_path / "firstboot" / "gone.mpy").exists()
    assert (tmp_path / "firstboot" / "notes.txt").exists()


def test_manifest_freezes_the_sources_of_what_is_in_the_tree(built, tmp_path, monkeypatch):
    """Run with the words of MicroPython's manifests, as they are documented: paths are relative to `base_path`."""
    out, sizes = built
    frozen: list[str] = []
    others: list[str] = []

    def package(name: str, base_path: str) -> None:
        frozen.extend(str(path.relative_to(base_path)) for path in (Path(base_path) / name).rglob("*.py"))

    def module(name: str, base_path: str) -> None:
        assert (Path(base_path) / name).is_file()
        frozen.append(name)

    monkeypatch.chdir(tmp_path)
    words = {"include": others.append, "require": others.append, "package": package, "module": module}
    exec((out / "manifest.py").read_text(), words)
    assert sorted(frozen) == sorted(name.replace(".mpy", ".py") for name in sizes)
    assert others == ["$(PORT_DIR)/boards/manifest.py", "umqtt.simple"]
