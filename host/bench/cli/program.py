"""All commands of `bench`, and what becomes of their errors."""

import errno
import importlib.metadata
import io
import signal
import sys
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli import INTERRUPTED, wrong_use
from bench.cli.commands import (
    associate,
    audit,
    backup,
    board,
    board_serve,
    boards,
    broker,
    broker_export,
    chaos,
    clean,
    conformance,
    customer,
    demo,
    device,
    device_claim,
    device_fields,
    device_files,
    device_life,
    doctor,
    firmware,
    firmware_package,
    flash,
    fleet,
    group_key,
    hook,
    import_,
    inventory,
    login,
    measure,
    monitor,
    operator,
    package,
    profile,
    profile_hook,
    provision,
    read_erase,
    rollout,
    rotate,
    rpc,
    serve,
    settings,
    telemetry,
    tls,
    user,
)
from bench.cli.options import bench_toml
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.errors import BenchError, UsageError

SECTIONS = {
    "Boards": ("flash", "deploy", "monitor", "settings", "inventory", "boards", "read", "erase"),
    "Server": (
        *(
            "login",
            "logout",
            "serve",
            "profile",
            "device",
            "import",
            "provision",
            "rotate",
            "rollout",
            "telemetry",
            "rpc",
            "customer",
            "associate",
            "operator",
            "user",
            "audit",
            "broker",
            "hook",
            "package",
            "tls",
        ),
        *("backup", "restore"),
    ),
    "Tests": ("board", "measure", "fleet", "conformance", "chaos", "clean"),
    "Tools": ("demo", "doctor", "firmware"),
}
app = App(sections=SECTIONS, epilog="Example: bench demo", pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        tables.echo(f"firstboot {importlib.metadata.version('firstboot')}")
        raise typer.Exit


@app.callback()
def bench(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Flash boards, run the server that they provision against, and test it all, with or without hardware."""


app.command("serve", epilog="Example: bench serve --free-ports --ready-file ready.json")(serve.serve)
app.command("login", epilog="Example: bench login https://tb.example --user me@tb.example")(login.login)
app.command("logout", epilog="Example: bench logout")(login.logout)
app.command("demo", epilog="Example: bench demo --keep")(demo.demo)
app.command("fleet", epilog="Example: bench fleet -n 200 --arrival restart")(fleet.fleet)
app.command("measure", epilog="Example: bench measure -n 100 --plot boot.svg")(measure.measure)
app.command("import", epilog="Example: bench import tray7.csv")(import_.import_devices)
app.command("provision", epilog="Example: bench provision press --count 500 --prefix a- --output line7.json")(
    provision.provision
)
app.command("rotate", epilog="Example: bench rotate --profile press --report rotation.jsonl")(rotate.rotate)
app.command("telemetry", epilog="Example: bench telemetry press-4 --follow")(telemetry.telemetry)
app.command("rpc", epilog="Example: bench rpc press-4 blink '{\"times\": 3}'")(rpc.rpc)
app.command("associate", epilog="Example: bench associate press-4 press-5 --labels labels")(associate.associate)
app.command("audit", epilog="Example: bench audit --since 2h --what DELETED")(audit.audit)
app.command("backup", epilog="Example: bench backup monday.tar")(backup.backup)
app.command("restore", epilog="Example: bench restore monday.tar --data new")(backup.restore)
app.command("clean", epilog="Example: bench clean --older 1h --url https://tb.example --user me@tb.example")(
    clean.clean
)
app.command("boards", epilog="Example: bench boards esp32_generic")(boards.boards)
app.command("inventory", epilog="Example: bench inventory --probe --port /dev/ttyUSB0")(inventory.inventory)
app.command("doctor", epilog="Example: bench doctor --server 192.168.1.10:1883")(doctor.doctor)
app.command(
    "conformance",
    epilog="Example: bench conformance --url mqtt://tb.example --url http://tb.example:8080 --profile-key KEY",
)(conformance.conformance)
app.command("flash", epilog="Example: bench flash --port /dev/ttyUSB0 --board esp32_generic --wifi shopfloor")(
    flash.flash
)
app.command("deploy", epilog="Example: bench deploy --port /dev/ttyUSB0")(flash.deploy)
app.command("read", epilog="Example: bench read --port /dev/ttyUSB0 flash.bin")(read_erase.read)
app.command("erase", epilog="Example: bench erase --port /dev/ttyUSB0 --partition vfs")(read_erase.erase)
app.command("monitor", epilog="Example: bench monitor --port /dev/ttyUSB0 --reset --until connected")(monitor.monitor)
app.add_typer(settings.app, name="settings")
profile.app.command("template", epilog="Example: bench profile template press --file press.toml")(
    device_fields.template
)
app.add_typer(profile.app, name="profile")
device.app.command("export", epilog="Example: bench device export fleet.jsonl --with-credentials")(device_files.export)
device.app.command(
    "import", epilog="Example: bench device import fleet.jsonl --url https://tb.example --user me@tb.example"
)(device_files.import_devices)
device.app.command(
    "claim", epilog="Example: bench device claim press-4 --secret-file secret.txt --url https://tb.example --user me@x"
)(device_claim.claim)
device.app.command("give-back", epilog="Example: bench device give-back press-4 --url https://tb.example --user me@x")(
    device_claim.give_back
)
device.app.command("fields", epilog="Example: bench device fields press-4 --set color=blue --delete site")(
    device_fields.fields
)
profile.app.command("group-key", epilog="Example: bench profile group-key tray7")(group_key.group_key)
profile.app.command("again", epilog="Example: bench profile again tray7 keep")(group_key.again)
profile.app.command("hook", epilog="Example: bench profile hook tray7 https://stock.example/may-it")(profile_hook.hook)
profile.app.command("device-key", epilog="Example: bench profile device-key tray7 press-4")(group_key.device_key)
device.app.command("serial", epilog="Example: bench device serial press-4 SN-0042")(device_life.serial)
device.app.command("deactivate", epilog="Example: bench device deactivate press-4")(device_life.deactivate)
device.app.command("activate", epilog="Example: bench device activate press-4")(device_life.activate)
device.app.command("decommission", epilog="Example: bench device decommission press-4")(device_life.decommission)
app.add_typer(device.app, name="device")
board.app.command("serve", epilog="Example: bench board serve board1 --pace")(board_serve.serve)
app.add_typer(board.app, name="board")
app.add_typer(chaos.app, name="chaos")
firmware.app.command("pack", epilog="Example: bench firmware pack --with app --sign key.pem --number 7")(
    firmware_package.pack
)
firmware.app.command("key", epilog="Example: bench firmware key key.pem")(firmware_package.key)
firmware.app.command("show", epilog="Example: bench firmware show firstboot-0.2.0.fbp --key key.pem")(
    firmware_package.show
)
app.add_typer(firmware.app, name="firmware")
app.add_typer(tls.app, name="tls")
app.add_typer(customer.app, name="customer")
app.add_typer(operator.app, name="operator")
app.add_typer(user.app, name="user")
broker.app.command(
    "export", epilog="Example: bench broker export --passwords passwords --acl acl --own-passwords my-passwords"
)(broker_export.export)
app.add_typer(broker.app, name="broker")
app.add_typer(hook.app, name="hook")
app.add_typer(package.app, name="package")
app.add_typer(rollout.app, name="rollout")
_command = typer.main.get_command(app)

# The root of typer's exceptions for wrong use, and the one for a group without a command, whose message is the whole
# help. Typer has no names for them, and the origin of its click changes.
_WRONG_USE: Any = typer.BadParameter.__base__
_NO_COMMAND = "NoArgsIsHelpError"
# Exhausted resources of the machine: not a bug, and these errors have no file name.
_USED_UP = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
_CURES = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check its permissions, or name another",
    errno.EISDIR: "it is a folder, name a file",
    errno.EEXIST: "it is a file, name a folder",
    errno.ENOTDIR: "a file is in the place of a folder, name another",
    errno.ENOSPC: "free some space",
    errno.EROFS: "name another place",
}
_WITH_DEFAULTS = ("flash", "deploy", "inventory", "read", "erase", "monitor", "settings")
# Commands on several boards at once, and the options of bench flash that they have; flash itself has all.
_ON_SEVERAL: dict[str, tuple[str, ...]] = {"flash": (), "deploy": ("files", "patience"), "inventory": ()}
_OF_CHIPS = ("board", "baud", "before", "after")


def run() -> None:
    """Run a command, and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a locale may lack the characters of a name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        paths.provide_home()
        sys.exit(_command(prog_name="bench", standalone_mode=False, default_map=_Defaults()))
    except BenchError as error:
        tables.fail(str(error))
        sys.exit(error.exit_code)
    except _WRONG_USE as error:
        if type(error).__name__ == _NO_COMMAND:
            error.show()
        else:
            tables.fail(wrong_use.describe(error))
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in _USED_UP:
            raise
        cure = f": {_CURES[error.errno]}" if error.errno in _CURES else ""
        tables.fail(f"{error.filename or 'a limit of this machine is reached'}: {error.strerror}{cure}")
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)


class _Defaults(dict[str, Any]):
    """Defaults for options from bench.toml, which is read only for commands that have some."""

    def get(self, command: str, default: Any = None) -> Any:
        if command not in _WITH_DEFAULTS:
            return default
        found = flash.read_toml().options
        ports = _texts(found.pop("port", []))
        if command in _ON_SEVERAL:
            names = found if command == "flash" else _ON_SEVERAL[command]
            return {**{name: found[name] for name in names if name in found}, **({"port": ports} if ports else {})}
        one = {"port": ports[0]} if len(ports) == 1 else {}
        if command == "settings":
            return dict.fromkeys(("list", "get", "set"), one)
        return {**{name: found[name] for name in _OF_CHIPS if name in found and command != "monitor"}, **one}


def _texts(port: Any) -> list[str]:
    """Return the ports in bench.toml, one or a list."""
    ports = [port] if isinstance(port, str) else port
    if not isinstance(ports, list) or not all(isinstance(each, str) for each in ports):
        raise UsageError(f"{bench_toml.path()}: port must be text, or a list of texts")
    return ports


def _terminate(number: int, _frame: object) -> None:
    """Exit as after an error, so that boards are switched off and servers are stopped."""
    sys.exit(128 + number)
