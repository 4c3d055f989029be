"""`serve.toml`: the options of bench serve in a file, and the service that is made of it."""

import shlex

import pytest
import typer

from bench import paths
from bench.cli import program
from bench.server.tls import authority
from tests.support.commands import bench
from tests.support.server_process import Serving


def refused(message, *words, **options):
    done = bench("serve", *words, **options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqtt-port = ", "is not TOML"),
        ("mqtt_prot = 1", "mqtt-prot is not one of "),
        ("config = 'x'", "config is not one of "),
        ("mqtt-port = '1883'", "mqtt-port must be a whole number"),
        ("mqtt-port = true", "mqtt-port must be a whole number"),
        ("mqtt-port = 65536", "--mqtt-port"),
        ("free-ports = 1", "free-ports must be true or false"),
        ("hostname = 'a'", "hostname must be a list of texts"),
        ("hostname = [1]", "hostname must be a list of texts"),
        ("host = ['a']", "host must be a text"),
        ("history-days = 'x'", "history-days must be a number"),
        ("like = 4.2", "like must be a text"),
        ("like = '3.5'", "unknown ThingsBoard release '3.5': known are 3.6, 3.7, "),
        ("database = 'postgresql+asyncpg://u:a-password@h/n'", "holds the database's password"),
    ],
)
def test_mistake_in_the_file_is_one_line(tmp_path, text, message):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    file.chmod(0o644)
    refused(message, "--config", file, "--data", tmp_path / "data")
    refused(message, "--data", tmp_path / "data", cwd=tmp_path)  # where it is found without being named
    assert "a-password" not in bench("serve", "--config", file).stderr
    assert not (tmp_path / "data").exists()


def test_file_that_is_named_must_exist(tmp_path):
    refused(f"no file {tmp_path}/none.toml", "--config", tmp_path / "none.toml")


def test_options_of_the_file_are_those_of_the_command_line_which_counts_first(tmp_path):
    (tmp_path / "serve.toml").write_text(
        'hostname = ["one.example", "two.example"]\nhistory-days = 3\nlimit-per-key = 7\nhost = "127.0.0.9"\n'
        "lift-limits-for-loopback = true\n"
    )
    options = ("--config", str(tmp_path / "serve.toml"), "--host", "127.0.0.1")
    with Serving(tmp_path / "data", tmp_path / "output", *options) as server:
        assert server.ready["host"] == "127.0.0.1"
        assert {"one.example", "two.example"} <= set(authority.existing(tmp_path / "data").names)


def options_of_serve():
    command = typer.main.get_command(program.app).commands["serve"]
    return {name for each in command.params for name in each.opts}


@pytest.mark.parametrize("file", ["firstboot.service", "Containerfile"])
def test_service_and_container_name_options_that_exist(file):
    text = (paths.CHECKOUT / "deploy" / file).read_text()
    (line,) = [each for each in text.splitlines() if each.startswith(("ExecStart=", "CMD ["))]
    words = shlex.split(line.replace('"', " ").replace(",", " "))
    assert {each for each in words if each.startswith("--")} <= options_of_serve()
