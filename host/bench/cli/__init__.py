"""The command `bench`."""

import sys

import typer

from bench.cli import board, demo, device, output, profile, serve
from bench.errors import BenchError

app = typer.Typer(
    help="firstboot's bench: serves what boards provision against, makes virtual boards, and boots them.",
    epilog="Example: bench demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(profile.app, name="profile")
app.add_typer(device.app, name="device")
app.add_typer(board.app, name="board")


def main() -> None:
    """Run a command; a mistake of the user's is one line and an exit code (2: wrong use, 1: failure)."""
    try:
        app()
    except BenchError as error:
        output.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        output.fail(f"{error.filename}: {error.strerror}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
