"""`bench device` and the life of devices: found, shown, deactivated, decommissioned."""

import json

from tests.support.commands import bench, printed


def test_device_is_found_by_its_life_and_shown_with_it(tmp_path):
    data = ("--data", str(tmp_path / "data"))
    assert bench("profile", "create", "default", *data).returncode == 0
    (tmp_path / "tray.csv").write_text("name,serial number,access_token\npress-1,0042,token\npress-2,0042,\n")
    assert bench("import", tmp_path / "tray.csv", *data).returncode == 0
    again = bench("import", tmp_path / "tray.csv", "--json", *data)
    assert json.loads(again.stdout)["same"] == ["press-1", "press-2"]
    found = printed("device", "list", "--serial", "0042", *data)
    assert [(each["name"], each["state"], each["status"], each["access"]) for each in found] == [
        ("press-1", "activated", "provisioning", "active"),
        ("press-2", "defined", "provisioning", "active"),
    ]
    assert [each["name"] for each in printed("device", "list", "--state", "defined", *data)] == ["press-2"]
    done = bench("device", "deactivate", "press-2", *data)
    assert (done.returncode, done.stdout) == (0, "deactivated press-2: it is refused as an unknown device is\n")
    assert [each["name"] for each in printed("device", "list", "--state", "deactivated", *data)] == ["press-2"]
    assert printed("device", "activate", "press-2", *data) == {"activated": ["press-2"]}
    prompted = bench("device", "decommission", "press-1", *data)
    assert (prompted.returncode, prompted.stdout) == (2, "")
    assert "Decommission press-1, for ever? There is no terminal" in prompted.stderr
    assert printed("device", "decommission", "press-1", "--yes", *data) == {"decommissioned": ["press-1"]}
    shown = printed("device", "show", "press-1", *data)
    assert (shown["serial_number"], shown["access"], shown["wipe_pending"]) == ("0042", "decommissioned", True)
    refused = bench("device", "activate", "press-1", *data)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "was decommissioned, which is for ever" in refused.stderr
