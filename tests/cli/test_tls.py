"""`bench tls` as a user runs it."""

import ssl

from bench.cli.render import tables
from bench.server.tls import authority
from tests.support.commands import bench, printed


def test_show_without_a_certificate_tells_the_cure(tmp_path):
    done = bench("tls", "show", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no certificate in ")
    assert "bench serve makes one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_show_of_a_damaged_file_is_one_line(tmp_path):
    authority.ensure(tmp_path).certificate_file.write_bytes(b"x")
    done = bench("tls", "show", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "server.pem holds no certificate" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_show_tells_fingerprints_names_dates_and_files(tmp_path):
    identity = authority.ensure(tmp_path, ["localhost", "::1"])
    shown = printed("tls", "show", "--data", str(tmp_path))
    assert shown == {
        "certificate": str(tmp_path / "tls" / "server.pem"),
        "names": ["localhost", "::1"],
        "expires": identity.certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S"),
        "sha256": authority.fingerprint(identity.certificate),
        "ca": str(tmp_path / "tls" / "ca.pem"),
        "ca_expires": identity.ca.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S"),
        "ca_sha256": authority.fingerprint(identity.ca),
    }
    output = bench("tls", "show", "--data", str(tmp_path))
    assert output.returncode == 0
    assert authority.fingerprint(identity.ca) in output.stdout


def test_show_writes_the_ca_for_boards(tmp_path):
    authority.ensure(tmp_path)
    out = tmp_path / "new" / "folder"
    shown = printed("tls", "show", "--data", str(tmp_path), "--out-dir", str(out))
    assert shown["written"] == [str(out / "ca.pem"), str(out / "ca.der")]
    assert (out / "ca.pem").read_bytes() == (tmp_path / "tls" / "ca.pem").read_bytes()
    assert ssl.DER_cert_to_PEM_cert((out / "ca.der").read_bytes()) == (out / "ca.pem").read_text()


def test_show_into_a_folder_that_cannot_be_is_one_line(tmp_path):
    authority.ensure(tmp_path)
    (tmp_path / "file").touch()
    done = bench("tls", "show", "--data", str(tmp_path), "--out-dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr


def test_fingerprint_is_never_taken_for_an_emoji(capsys):
    tables.facts({"sha256": "9B:CD:7D"}, as_json=False)
    tables.table([{"sha256": "9B:CD:7D"}], as_json=False, empty="")
    tables.fail("9B:CD:7D")
    output = capsys.readouterr()
    assert output.out.count("9B:CD:7D") == 2
    assert "9B:CD:7D" in output.err
