"""`bench provision`: names, files and secrets, and runs that were killed at any byte of their output."""

import asyncio
import csv
import dataclasses
import io
import json
import os
import stat
import uuid
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest
from sqlalchemy import delete, select

from bench.cli import provision_output, provision_registry, provision_rows
from bench.cli.commands import provision
from bench.cli.provision_output import CsvLayout, FileOutput, JsonLayout
from bench.contract.proof import claim_secret, derived_token
from bench.errors import BenchError
from bench.registry import associations, audit, device_keys, devices, group_keys, issuing, profiles
from bench.registry.clock import now_ms
from bench.registry.credentials import MqttLogin
from bench.registry.model import AssociationCode, Customer, Device, DeviceKey
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from tests.support.at_rest import everything
from tests.support.commands import bench, refused
from tests.support.mqtt_packets import connack, connect
from tests.support.operators import login, new_profile, options
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases

BATCH = 3
COLUMNS = provision_output.COLUMNS


class Killed(BaseException):
    """Stands for a process that is not there any more."""


@pytest.fixture
def data(tmp_path):
    """A data folder with the profile `press`, and no server."""
    assert bench("profile", "create", "press", "--data", tmp_path / "data").returncode == 0
    return tmp_path / "data"


def made(*arguments):
    done = bench("provision", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


@asynccontextmanager
async def opened(folder, database=None):
    registry = await Registry.open(folder, database)
    try:
        if not await registry.profiles():
            await registry.create_profile("press", ProvisionType.DISABLED)
        yield registry
    finally:
        await registry.close()


async def expect_logins(registry, rows):
    """Each row's password and API key are its device's, and nobody else's."""
    for row in rows:
        device = await registry.login(
            MqttLogin(client_id="any", username=row["mqtt_username"], password=row["mqtt_password"])
        )
        assert device is not None, row["device_id"]
        assert device.name == row["device_id"]
        assert await registry.token_login(row["api_key"]) == device
        assert (
            await registry.login(
                MqttLogin(client_id="any", username=row["mqtt_username"], password=row["mqtt_password"] + "x")
            )
            is None
        )


# --- what is refused


@pytest.mark.parametrize(
    ("code", "message", "arguments"),
    [
        (1, "no profile pres", ("pres",)),
        (2, "--count", ("press", "--count", "0")),
        (2, "control characters", ("press", "--prefix", "a\nb")),
        (2, "a space", ("press", "--prefix", " a")),
        (2, "exists", ("press", "--output", "{there}")),
        (2, "there is no folder", ("press", "--output", "{there}/none/x.json")),
        *((2, "go with --url", ("press", each, "{there}")) for each in ("--user", "--api-key-file", "--ca")),
        (
            2,
            "bench associate makes the codes",
            ("press", "--associate", "--url", "http://127.0.0.1:9", "--user", "a@b.c"),
        ),
        (2, "leave out --prefix", ("press", "--derived", "--prefix", "a-")),
        (2, "has no group key: bench profile group-key press makes one", ("press", "--derived")),
        (2, "leave one of them out", ("press", "--url", "http://127.0.0.1:9", "--user", "a@b.c", "--database", "x")),
    ],
)
def test_provision_refuses_what_cannot_be_in_one_line(data, tmp_path, code, message, arguments):
    there = tmp_path / "there"
    there.write_text("mine")
    where = () if "--url" in arguments else ("--data", data)
    refused(code, message, "provision", *(each.format(there=there) for each in arguments), *where, BENCH_PASSWORD="x")
    assert there.read_text() == "mine"


def test_provision_without_a_registry_makes_none(tmp_path):
    refused(1, "no registry in", "provision", "press", "--data", tmp_path / "none")
    assert not (tmp_path / "none" / "registry.db").exists()


def test_unfinished_file_of_another_run_is_left_alone(data, tmp_path):
    part = tmp_path / "x.json.part"
    for mine in (b'{"device_type": "other", "count": 9, "devices": [\n', b"my notes"):
        part.write_bytes(mine)
        part.chmod(0o600)
        refused(2, "repeat that command", "provision", "press", "--data", data, "--output", tmp_path / "x.json")
        assert part.read_bytes() == mine
    keys = JsonLayout("press", 1, provision_output.DERIVED_COLUMNS)
    mine = keys.head + keys.line(dict.fromkeys(provision_output.DERIVED_COLUMNS, "a"), 1)
    part.write_bytes(mine)
    command = ("provision", "press", "--data", data, "--output", tmp_path / "x.json")
    refused(2, "--derived or --associate: repeat that command", *command)
    assert part.read_bytes() == mine
    part.chmod(0o644)
    refused(1, "others may have access", "provision", "press", "--data", data, "--output", tmp_path / "x.json")
    part.unlink()
    refused(1, "no profile", "provision", "pres", "--data", data, "--output", tmp_path / "x.json")
    assert not part.exists()  # another run can have the name
    part.symlink_to(tmp_path / "elsewhere")
    assert bench("provision", "press", "--data", data, "--output", tmp_path / "x.json").returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_two_runs_do_not_write_one_file(tmp_path):
    with output(tmp_path / "x.part", CsvLayout()), pytest.raises(BenchError, match="another bench provision"):
        FileOutput(tmp_path / "x.part", CsvLayout(), BATCH)


# --- what is made


def test_provision_makes_named_devices_that_log_in(data, tmp_path):
    old = os.umask(0)
    try:
        assert "made 3 devices" in made(
            "press", "--count", 3, "--prefix", "a-", "--output", tmp_path / "x.json", "--data", data
        )
    finally:
        os.umask(old)
    file = tmp_path / "x.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(file.read_text())
    assert (found["device_type"], found["count"]) == ("press", 3)
    assert [each["device_id"] for each in found["devices"]] == ["a-press-001", "a-press-002", "a-press-003"]
    assert all(tuple(each) == COLUMNS for each in found["devices"])
    assert found["devices"][0]["mqtt_username"] == "press-a-press-001"
    assert found["devices"][0]["name"] == "press 001"
    secrets = {each[key] for each in found["devices"] for key in ("mqtt_password", "api_key")}
    assert len(secrets) == 6
    assert not [each for each in everything(data, None).values() if any(one.encode() in each for one in secrets)]

    async def check():
        async with opened(data) as registry:
            await expect_logins(registry, found["devices"])
            trail = [each.entity for each in await registry.read(_added)]
            assert trail == ["a-press-001", "a-press-002", "a-press-003"]

    asyncio.run(check())
    facts = json.loads(made("press", "--output", file, "--force", "--json", "--data", data))
    assert facts == {"file": str(file), "device_type": "press", "count": 1, "made_before": 0}
    assert json.loads(file.read_text())["devices"][0]["device_id"] == "press-001"


def _added(session):
    return sorted(audit.find(session, limit=100, what="device.added"), key=lambda each: each.entity)


def test_numbers_go_on_after_the_highest_one(data):
    for name in ("press-007", "press-x", "press-009x", "other-press-100", "press-1000x"):
        assert bench("device", "create", name, "--profile", "press", "--data", data).returncode == 0
    rows = of_csv(made("press", "--count", 2, "--format", "csv", "--data", data))
    assert [each["device_id"] for each in rows] == ["press-008", "press-009"]
    assert bench("device", "create", "press-999", "--profile", "press", "--data", data).returncode == 0
    assert json.loads(made("press", "--data", data))["devices"][0]["device_id"] == "press-1000"


def test_provision_beside_a_running_server_and_over_its_url(server, tmp_path):
    with login(server) as operator:
        new_profile(operator, name="press")
        (beside,) = json.loads(made("press", "--data", server.data))["devices"]
        where = options(server, tmp_path)
        made("press", "--count", 2, "--output", tmp_path / "url.json", *where)
        over = json.loads((tmp_path / "url.json").read_text())["devices"]
    assert [each["device_id"] for each in over] == ["press-002", "press-003"]
    assert {each["api_key"] for each in over} == {""}
    for row in (beside, *over):
        with RawClient(server.ports.mqtt) as client:
            client.send(connect("any", row["mqtt_username"], row["mqtt_password"].encode()))
            client.expect(connack(0))
    http = f"http://127.0.0.1:{server.ports.http}/api/v1"
    assert httpx.post(f"{http}/{beside['api_key']}/telemetry", json={"t": 1}).status_code == 200
    assert httpx.post(f"{http}/{'0' * 64}/telemetry", json={"t": 1}).status_code == 401
    assert httpx.get(f"{http}/{beside['api_key']}/attributes").status_code == 200


# --- tokens that follow from the group key


async def expect_derived(registry, rows, group_key):
    """Each row has its device's own key, and nothing that another device follows from."""
    profile = await registry.profile("press")
    for row in rows:
        assert set(row) == set(provision_output.DERIVED_COLUMNS)
        assert str(uuid.UUID(row["device_id"])) == row["device_id"]
        assert row["device_key"] == claim_secret(group_key, row["device_id"])
        device = await registry.token_login(derived_token(row["device_key"], row["device_id"]))
        assert device is not None
        assert device.name == row["device_id"]
        assert row["provision_key"] == profile.provision_key
    assert profile.provision_secret not in json.dumps(rows)
    assert group_key not in json.dumps(rows)


@on_both_databases
def test_derived_devices_have_the_tokens_of_their_own_keys_wherever_the_run_was_killed(tmp_path, database):
    async def scenario():
        async with opened(tmp_path, database) as registry:
            await registry.write(lambda session: session.delete(profiles.by_name(session, "press")))
            await registry.create_profile("press", ProvisionType.ALLOW_CREATE_NEW_DEVICES)
            group_key = await registry.write(
                lambda session: group_keys.replace(session, profiles.by_name(session, "press"))
            )
            what = dataclasses.replace(wanted("", 7), is_derived=True)
            for layout in (JsonLayout("press", 7, what.columns), CsvLayout(what.columns)):
                path = tmp_path / f"{type(layout).__name__}.part"
                before = {each.name for each in await registry.devices()}
                await killed(registry, what, path, layout, 1)
                await run(registry, what, path, layout)
                rows = rows_of(path, layout)
                assert stat.S_IMODE(path.with_suffix("").stat().st_mode) == 0o600
                after = {each.name for each in await registry.devices()}
                assert {each["device_id"] for each in rows} == after - before
                assert len(rows) == 7
                await expect_derived(registry, rows, group_key)

    asyncio.run(scenario())


def test_derived_devices_are_made_over_the_url_of_a_server(server, tmp_path):
    with login(server) as operator:
        new_profile(operator, name="press", strategy="ALLOW_CREATE_NEW_DEVICES")
        where = options(server, tmp_path)
        key = json.loads(bench("profile", "group-key", "press", "--json", *where).stdout)["group_key"]
        command = ("press", "--count", 2, "--derived", "--serials", "SN-1", "--output", tmp_path / "x.json", *where)
        made(*command)
    rows = json.loads((tmp_path / "x.json").read_text())["devices"]
    assert [each.pop("serial") for each in rows] == ["SN-1", "SN-2"]
    server.query(lambda registry: expect_derived(registry, rows, key))


# --- what was killed


def layouts(count):
    return JsonLayout("press", count), CsvLayout()


def wanted(prefix, count):
    return provision_rows.Wanted(device_type="press", prefix=prefix, count=count)


@contextmanager
def output(path, layout):
    out = FileOutput(path, layout, BATCH)
    try:
        yield out
    finally:
        out._stream.close()


async def run(registry, what, path, layout):
    press = provision_registry.RegistryDevices(registry, "press", what.code_days)
    press.batch = BATCH
    with output(path, layout) as out:
        await provision._make(press, what, out, lambda _done, _all: None)
        out.finish(path.with_suffix(""), force=False)


def rows_of(path, layout):
    text = path.with_suffix("").read_text()
    return json.loads(text)["devices"] if isinstance(layout, JsonLayout) else of_csv(text)


async def expect_whole(registry, rows, what):
    assert len(rows) == what.count == len({each["device_id"] for each in rows})
    of_this = select(Device.name).where(Device.name.startswith(what.names.stem))
    names = await registry.read(lambda session: set(session.scalars(of_this)))
    assert names == {each["device_id"] for each in rows}  # none without its secrets
    await expect_logins(registry, rows)


async def killed(registry, what, path, layout, batch):
    """Be killed after this batch is in the file, and before it is in the database; return where it begins there."""
    press = provision_registry.RegistryDevices(registry, "press", what.code_days)
    press.batch = BATCH
    with output(path, layout) as out:
        append, begins = out.append, []

        def cut(rows):
            begins.append(path.stat().st_size)
            append(rows)
            if len(begins) > batch:
                raise Killed

        out.append = cut
        with pytest.raises(Killed):
            await provision._make(press, what, out, lambda _done, _all: None)
    return begins[batch]


@on_both_databases
@pytest.mark.parametrize("form", [JsonLayout, CsvLayout])
def test_run_killed_before_its_commit_goes_on_from_any_byte(tmp_path, database, form):
    layout = form("press", 5) if form is JsonLayout else form()

    async def scenario():
        async with opened(tmp_path, database) as registry:
            for batch, step in ((0, 211), (1, 89)):
                begin, end, number = 0, 1, 0
                while begin < end:  # the lengths of the lines do not change
                    number += 1
                    path, what = tmp_path / f"{batch}-{number}.part", wanted(f"{batch}-{number:03}-", 5)
                    start = await killed(registry, what, path, layout, batch)
                    begin, end = max(begin, start if batch else 0), path.stat().st_size
                    os.truncate(path, begin)
                    await run(registry, what, path, layout)
                    await expect_whole(registry, rows_of(path, layout), what)
                    begin += step if end - begin > step else max(1, (end - begin) // 2)

    asyncio.run(scenario())


@on_both_databases
def test_run_killed_after_its_commit_makes_nothing_twice(tmp_path, database):
    async def scenario():
        async with opened(tmp_path, database) as registry:
            path, layout, what = tmp_path / "x.part", JsonLayout("press", 4), wanted("", 4)
            with output(path, layout) as out:
                press = provision_registry.RegistryDevices(registry, "press")
                await press.add([what.row(1), what.row(2), what.row(3)], out, {})
            first = path.read_text()
            await run(registry, what, path, layout)
            rows = rows_of(path, layout)
            assert first.rstrip().rstrip(",") in path.with_suffix("").read_text()
            await expect_whole(registry, rows, what)

    asyncio.run(scenario())


@on_both_databases
def test_name_that_somebody_else_took_meanwhile_is_not_in_the_file(tmp_path, database):
    async def scenario():
        async with opened(tmp_path, database) as registry:
            path, layout, what = tmp_path / "x.part", JsonLayout("press", 4), wanted("", 4)
            with output(path, layout) as out:
                out.append([what.row(1), what.row(2), what.row(3)])
            await registry.create_device("press-002", "press")
            await run(registry, what, path, layout)
            rows = rows_of(path, layout)
            assert [each["device_id"] for each in rows] == ["press-001", "press-003", "press-004", "press-005"]
            await expect_logins(registry, rows)
            assert stat.S_IMODE(path.with_suffix("").stat().st_mode) == 0o600

    asyncio.run(scenario())


def test_refused_transaction_leaves_its_devices_out_of_the_file(tmp_path):
    async def scenario():
        async with opened(tmp_path) as registry:
            what, layout = wanted("", 2), JsonLayout("press", 2)
            taken = what.row(2)["mqtt_username"]
            await registry.create_device("somebody", "press", token=taken)
            with output(tmp_path / "x.part", layout) as out:
                press = provision_registry.RegistryDevices(registry, "press")
                with pytest.raises(BenchError, match="came first"):
                    await press.add([what.row(1), what.row(2)], out, {})
                assert (tmp_path / "x.part").read_bytes() == layout.head
                assert out.written == 0
            assert [each.name for each in await registry.devices()] == ["somebody"]

    asyncio.run(scenario())


def test_file_that_came_meanwhile_is_not_replaced(data, tmp_path):
    with output(tmp_path / "x.part", CsvLayout()) as out:
        (tmp_path / "x").write_text("mine")
        with pytest.raises(BenchError, match="exists by now"):
            out.finish(tmp_path / "x", force=False)
    assert (tmp_path / "x").read_text() == "mine"


# --- association codes


@on_both_databases
def test_codes_are_those_of_the_devices_wherever_the_run_was_killed(tmp_path, database):
    async def scenario():
        async with opened(tmp_path, database) as registry:
            what = dataclasses.replace(wanted("", 7), code_days=2)
            path, layout = tmp_path / "x.part", CsvLayout(what.columns)
            await killed(registry, what, path, layout, 1)
            await run(registry, what, path, layout)
            rows = rows_of(path, layout)
            await expect_whole(registry, rows, what)
            stored = await registry.read(lambda session: list(session.scalars(select(AssociationCode))))
            assert len(stored) == 7
            assert all(0 <= each.expires_ms - now_ms() <= 2 * 86_400_000 for each in stored)

            def used(session):
                customer = Customer(title="Acme")
                session.add(customer)
                session.flush()
                return [associations.use(session, row["association_code"], customer).name for row in rows]

            assert await registry.write(used) == [row["device_id"] for row in rows]

    asyncio.run(scenario())


# --- API keys


def test_api_key_in_another_row_is_worth_nothing(tmp_path):
    async def scenario():
        async with opened(tmp_path) as registry:
            what = wanted("", 2)
            rows = [what.row(1), what.row(2)]
            with output(tmp_path / "x.part", CsvLayout()) as out:
                await provision_registry.RegistryDevices(registry, "press").add(rows, out, {})
            await registry.write(_swap)
            assert [await registry.token_login(each["api_key"]) for each in rows] == [None, None]

    def _swap(session):
        was = [(each.device_id, each.lookup, each.proof) for each in session.scalars(select(DeviceKey))]
        session.execute(delete(DeviceKey))
        (one, *first), (two, *second) = was
        for device_id, (lookup, proof) in ((one, second), (two, first)):
            session.add(DeviceKey(device_id=device_id, lookup=lookup, proof=proof))

    asyncio.run(scenario())


def test_issued_credentials_replace_the_old_ones(tmp_path):
    async def scenario():
        async with opened(tmp_path) as registry:
            await registry.create_device("press-1", "press")
            issued = []
            for _ in range(2):
                await registry.write(_issue, issued)
            old, new = issued
            assert await registry.login(MqttLogin(username=old.mqtt_username, password=old.mqtt_password)) is None
            assert await registry.token_login(old.api_key) is None
            assert (
                await registry.login(MqttLogin(username=new.mqtt_username, password=new.mqtt_password))
            ).name == "press-1"
            assert (await registry.token_login(new.api_key)).name == "press-1"
            assert not new.mqtt_password.startswith("-")
            assert device_keys.is_formed(new.api_key)
            assert old.mqtt_password not in repr(old)

    def _issue(session, issued):
        issued.append(issuing.issue(session, devices.by_name(session, "press-1"), "press-press-1"))

    asyncio.run(scenario())


def test_devices_get_serial_numbers_which_go_on_after_an_interruption(data, tmp_path):
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("serial\n" + "".join(f"SN {number}\n" for number in range(4)))
    file = tmp_path / "line7.csv"
    command = ("press", "--count", "4", "--format", "csv", "--output", file, "--data", data)
    made(*command, "--serials", numbers)
    rows = of_csv(file.read_text())
    assert [(each["device_id"], each["serial"]) for each in rows] == [
        (f"press-00{at + 1}", f"SN {at}") for at in range(4)
    ]
    found = json.loads(bench("device", "list", "--serial", "SN 2", "--json", "--data", data).stdout)
    assert [(each["name"], each["serial_number"]) for each in found] == [("press-003", "SN 2")]

    head, *lines = file.read_text().splitlines(keepends=True)
    part = tmp_path / "line8.csv.part"
    part.touch(0o600)
    part.write_text(head + "".join(lines[:2]) + lines[2][:9])  # as if it was killed while it wrote the third
    made(
        "press",
        "--count",
        "4",
        "--format",
        "csv",
        "--output",
        tmp_path / "line8.csv",
        "--serials",
        numbers,
        "--data",
        data,
    )
    rows = of_csv((tmp_path / "line8.csv").read_text())
    assert [each["serial"] for each in rows] == [f"SN {at}" for at in range(4)]
    assert [each["device_id"] for each in rows] == ["press-001", "press-002", "press-005", "press-006"]


def test_serial_numbers_that_are_too_few_or_of_certain_boards_are_refused(data, tmp_path):
    numbers = tmp_path / "numbers.csv"
    arguments = (
        "provision",
        "press",
        "--count",
        "2",
        "--output",
        tmp_path / "out",
        "--serials",
        numbers,
        "--data",
        data,
    )
    numbers.write_text("serial\nSN-1\n")
    refused(2, "--serials names too few", *arguments)
    numbers.write_text("serial,mac\nSN-1,0242ac110001\nSN-2,\n")
    refused(2, "add it to the batch that is made", *arguments)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "numbers.csv"]
