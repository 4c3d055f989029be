"""Modules for a moment: what is unloaded at the end of a block, and what is not."""

import pytest

from tests.support import micropython

HEAD = """
import gc, sys
import firstboot
from firstboot import board, temporary

def loaded():
    return " ".join(sorted(name for name in sys.modules if name.startswith("firstboot.")))

def provision():
    from firstboot import provisioning
    from firstboot.transports import coap
    return coap.exchange

before = loaded()
"""


@pytest.mark.parametrize(
    "code",
    [
        "with temporary.Imports(): provision()",
        "with temporary.Imports():\n    with temporary.Imports(): provision()",
        "with temporary.Imports():\n    with temporary.Imports(): provision()\n    provision()",
        "with temporary.Imports():\n    provision()\n    with temporary.Imports(): provision()",
        "with temporary.Imports(): provision()\nwith temporary.Imports(): provision()",
        "try:\n    with temporary.Imports():\n        provision()\n        raise OSError\nexcept OSError: pass",
        "def leave():\n    with temporary.Imports():\n        return provision()\nassert leave()",
        "with temporary.Imports(): from firstboot.transports import coap",
        "with temporary.Imports(): pass",
    ],
)
def test_block_unloads_all_that_it_loaded_and_nothing_else(code):
    output = micropython.run(
        f"{HEAD}{code}\nprint(before == loaded(), hasattr(firstboot, 'transports'), board.EPOCH >= 0)"
    )
    assert output == "True False True\n"


def test_inner_block_leaves_what_the_outer_one_loaded():
    code = """
with temporary.Imports():
    from firstboot import clock
    with temporary.Imports():
        from firstboot import clock as same, claim
    print(same is clock, "firstboot.clock" in sys.modules)
    print("firstboot.claim" in sys.modules, hasattr(firstboot, "claim"))
"""
    assert micropython.run(HEAD + code) == "True True\nFalse False\n"


def test_module_that_was_loaded_before_keeps_its_state():
    code = """
from firstboot import claim
claim.state = 1
with temporary.Imports():
    from firstboot import claim
print(claim.state, sys.modules["firstboot.claim"].state)
"""
    assert micropython.run(HEAD + code) == "1 1\n"


def test_module_of_the_application_stays(tmp_path):
    """A sample or a call may import it while a block is open."""
    (tmp_path / "mine.py").write_text("value = 1\n")
    code = "with temporary.Imports():\n    import mine\nprint('mine' in sys.modules)"
    assert micropython.run(f"{HEAD}sys.path.insert(0, '')\n{code}", cwd=tmp_path) == "True\n"


def test_memory_of_what_was_unloaded_is_free_again():
    code = """
def turn():
    with temporary.Imports():
        provision()
turn()
gc.collect()
used = gc.mem_alloc()
for _ in range(20):
    turn()
gc.collect()
print(gc.mem_alloc() - used < 2000)
"""
    assert micropython.run(HEAD + code) == "True\n"
