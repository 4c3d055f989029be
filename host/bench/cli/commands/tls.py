"""`bench tls`: the server's certificate, and the CA that boards must trust."""

from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.server.tls import authority

app = App(help="TLS: the server's certificate and its CA.", epilog="Example: bench tls show")


@app.command(epilog="Example: bench tls show --out-dir certificates")
def show(
    out_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write ca.pem and ca.der to this folder; boards need ca.der.")
    ] = None,
    as_json: Json = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show the certificate that the server made, and its CA."""
    identity = authority.existing(data)
    ca = identity.chain[-1]
    facts: dict[str, Any] = {
        "certificate": str(identity.certificate_file),
        "names": identity.names,
        "expires": _end(identity.certificate),
        "sha256": authority.fingerprint(identity.certificate),
        "ca": str(identity.certificate_file.with_name(authority.CA_CERTIFICATE)),
        "ca_expires": _end(ca),
        "ca_sha256": authority.fingerprint(ca),
    }
    if out_dir:
        facts["written"] = [str(path) for path in _write_ca(ca, out_dir)]
    tables.facts(facts, as_json=as_json)


def _write_ca(ca: x509.Certificate, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / "ca.pem": Encoding.PEM, folder / "ca.der": Encoding.DER}
    for path, encoding in files.items():
        path.write_bytes(ca.public_bytes(encoding))
    return list(files)


def _end(certificate: x509.Certificate) -> str:
    return tables.utc_time(int(certificate.not_valid_after_utc.timestamp() * 1000))
