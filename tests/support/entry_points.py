"""Packages with entry points, as pip would install them: a module, and its metadata beside it."""

import sys
import textwrap


def install(folder, monkeypatch, group, source, *names):
    """Put a module on the path whose functions of these names are entry points of a group."""
    module = f"example_{folder.name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"{name} = {module}:{name}" for name in names]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)
    return module
