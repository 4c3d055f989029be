"""The choice of a ThingsBoard for a run of tests, read from its options."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from bench.contract import releases
from bench.errors import UsageError

_PASSWORD = "BENCH_PASSWORD"  # noqa: S105 - a variable's name
_API_KEY = "BENCH_API_KEY"


@dataclass(frozen=True, kw_only=True)
class ServerChoice:
    """A ThingsBoard, the account there, and the name of this run."""

    url: str
    user: str
    """Empty with an API key."""
    password_file: Path | None
    api_key_file: Path | None
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
            if option.bench_user or option.bench_password_file or option.bench_api_key_file or option.bench_ca:
                raise UsageError(
                    "--bench-user, --bench-password-file, --bench-api-key-file and --bench-ca go with --bench-url"
                )
            return None
        if option.bench_like_production or option.bench_like != releases.NEWEST.version:
            raise UsageError(
                "--bench-like and --bench-like-production are for the bench's own server: drop --bench-url"
            )
        if option.bench_user and option.bench_api_key_file:
            raise UsageError("--bench-user and --bench-api-key-file exclude each other: leave one out")
        if not (option.bench_user or option.bench_api_key_file or os.environ.get(_API_KEY)):
            raise UsageError("--bench-url needs --bench-user, or --bench-api-key-file: an operator's account there")
        # half a second to import, which only these runs need
        from bench.cli.options.operator_session import http_url  # noqa: PLC0415
        from bench.rest_client import runs  # noqa: PLC0415

        http_url(option.bench_url)
        found = cls(
            url=option.bench_url.rstrip("/"),
            user=option.bench_user,
            password_file=Path(option.bench_password_file).absolute() if option.bench_password_file else None,
            api_key_file=Path(option.bench_api_key_file).absolute() if option.bench_api_key_file else None,
            ca=Path(option.bench_ca).absolute() if option.bench_ca else None,
            run=getattr(config, "workerinput", {}).get("bench_run") or runs.new_run(),
        )
        found.secret()
        return found

    def secret(self) -> str:
        """Return the account's password, or the API key.

        Raises:
            UsageError: There is none, or the file cannot be read.
        """
        if not self.user:
            from bench.rest_client.session import checked_api_key  # noqa: PLC0415 - only these runs need it

            found = self._value(self.api_key_file, "--bench-api-key-file", _API_KEY, "an API key")
            return checked_api_key(found, str(self.api_key_file or _API_KEY))
        return self._value(self.password_file, "--bench-password-file", _PASSWORD, "a password")

    def _value(self, file: Path | None, option: str, variable: str, what: str) -> str:
        if file is None:
            if found := os.environ.get(variable):
                return found
            raise UsageError(f"--bench-url needs {what}: set {variable}, or name a file with {option}")
        from bench.input_files import decoding  # noqa: PLC0415 - only these runs need it

        try:
            return decoding.read(file).content.rstrip("\n")
        except OSError as error:
            raise UsageError(f"{option} {file}: {error.strerror}") from None
