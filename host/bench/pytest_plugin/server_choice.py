"""The choice of a ThingsBoard for a run of tests, read from its options."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from bench.contract import releases
from bench.errors import UsageError

_PASSWORD = "BENCH_PASSWORD"  # noqa: S105 - a variable's name


@dataclass(frozen=True, kw_only=True)
class ServerChoice:
    """A ThingsBoard, the account there, and the name of this run."""

    url: str
    user: str
    password_file: Path | None
    ca: Path | None
    run: str
    """The beginning of all names that it makes there."""

    @classmethod
    def of(cls, config: pytest.Config) -> Self | None:
        """Return the choice that the command line makes; None for a server of the bench's own.

        A worker of xdist is given the run's name.

        Raises:
            UsageError: An option is missing, or goes with the bench's own server only; or the URL is not one.
        """
        option = config.option
        if not option.bench_url:
            if option.bench_user or option.bench_password_file or option.bench_ca:
                raise UsageError("--bench-user, --bench-password-file and --bench-ca go with --bench-url")
            return None
        if option.bench_like_production or option.bench_like != releases.NEWEST.version:
            raise UsageError(
                "--bench-like and --bench-like-production are for the bench's own server: drop --bench-url"
            )
        if not option.bench_user:
            raise UsageError("--bench-url needs --bench-user: an operator's account of that server")
        # half a second to import, which only these runs need
        from bench.cli.options.operator_session import http_url  # noqa: PLC0415
        from bench.rest_client import runs  # noqa: PLC0415

        http_url(option.bench_url)
        found = cls(
            url=option.bench_url.rstrip("/"),
            user=option.bench_user,
            password_file=Path(option.bench_password_file).absolute() if option.bench_password_file else None,
            ca=Path(option.bench_ca).absolute() if option.bench_ca else None,
            run=getattr(config, "workerinput", {}).get("bench_run") or runs.new_run(),
        )
        found.password()
        return found

    def password(self) -> str:
        """Return the account's password.

        Raises:
            UsageError: There is none, or the file cannot be read.
        """
        if self.password_file is None:
            if found := os.environ.get(_PASSWORD):
                return found
            raise UsageError(
                f"--bench-url needs a password: set {_PASSWORD}, or name a file with --bench-password-file"
            )
        from bench.input_files import decoding  # noqa: PLC0415 - only these runs need it

        try:
            return decoding.read(self.password_file).content.rstrip("\n")
        except OSError as error:
            raise UsageError(f"--bench-password-file {self.password_file}: {error.strerror}") from None
