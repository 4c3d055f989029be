"""A server's answers to devices' requests for credentials, and what is expected of them."""

import json
from dataclasses import dataclass
from typing import Any

from bench.conformance.check import Broken

SUCCESS, FAILURE, NOT_FOUND = "SUCCESS", "FAILURE", "NOT_FOUND"
# Characters: more than any server makes, and few enough for a packet and a path.
_LONGEST_TOKEN = 4096


def parsed(raw: bytes) -> Any:
    """Return the value of a JSON text; None if it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def is_token(value: Any) -> bool:
    """Return whether a device could log in with this value over every transport: a printable text of 1 to 4096."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TOKEN and value.isprintable()


@dataclass(frozen=True)
class Answer:
    """The answer to a provisioning request: a JSON object."""

    fields: dict[str, Any]

    @property
    def status(self) -> Any:
        """The status: SUCCESS, FAILURE or NOT_FOUND in a valid answer; None if it is missing."""
        return self.fields.get("status")

    @property
    def value(self) -> Any:
        """The credentials; None if they are missing."""
        return self.fields.get("credentialsValue")

    def expect(self, status: str) -> "Answer":
        """Expect this status, with its fields and no others.

        Args:
            status: SUCCESS, FAILURE or NOT_FOUND.

        Returns:
            The answer itself.

        Raises:
            Broken: The status or the fields are others.
        """
        if self.status != status:
            raise Broken(f"the status is {json.dumps(self.status)} instead of {status}")
        wanted = {"status", "credentialsType", "credentialsValue"} if status == SUCCESS else {"status", "errorMsg"}
        if set(self.fields) != wanted:
            raise Broken(f"the answer has {', '.join(sorted(self.fields))} instead of {', '.join(sorted(wanted))}")
        return self

    def expect_token(self) -> str:
        """Expect SUCCESS with an access token, and return the token.

        Raises:
            Broken: The status, the fields or the type of credentials are others, or the value cannot be a token.
        """
        self.expect(SUCCESS)
        if self.fields["credentialsType"] != "ACCESS_TOKEN":
            raise Broken(f"credentialsType is {json.dumps(self.fields['credentialsType'])} instead of ACCESS_TOKEN")
        if not is_token(self.value):
            raise Broken("credentialsValue is not a text, or empty, endless or unprintable instead of a token")
        return str(self.value)
