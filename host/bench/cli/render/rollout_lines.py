"""Rollouts and their devices as lines and JSON of commands."""

from typing import Any

from bench.cli.render import tables
from bench.rest_client.rollouts import shown_rollout_id

_NUMBERS = {
    "updated": "updated",
    "updating": "updating",
    "pending": "pending",
    "failed": "failed",
    "left_out": "leftOut",
}


def package(rollout: dict[str, Any]) -> str:
    """Return the title and the version of a rollout's package."""
    return f"{rollout['title']} {rollout['version']}"


def counts(rollout: dict[str, Any]) -> str:
    """Return how many devices are in which state, as words."""
    numbers = {word: rollout[key] for word, key in _NUMBERS.items()}
    return ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in numbers.items() if n or word == "updated")


def row(rollout: dict[str, Any]) -> dict[str, Any]:
    """Return a rollout as a row of a list."""
    return {
        "id": shown_rollout_id(rollout),
        "package": package(rollout),
        "profile": rollout["deviceProfileName"],
        "state": rollout["state"],
        "devices": rollout["devices"],
        **{word: rollout[key] for word, key in _NUMBERS.items()},
        "started": tables.utc_time(rollout["createdTime"]),
    }


def facts(rollout: dict[str, Any]) -> dict[str, Any]:
    """Return all that there is to a rollout, but for its devices."""
    ended, failures = rollout["endedTime"], rollout["stopFailures"]
    return {
        **row(rollout),
        "ended": "" if ended is None else tables.utc_time(ended),
        "reason": rollout["reason"],
        "where": rollout["attributes"],
        "canary": rollout["canary"],
        "at_most": rollout["atMost"],
        "rate": f"{rollout['rateNumber']} in {rollout['rateSeconds']} s",
        "stop_at": f"{rollout['stopPercent']}%" if failures is None else str(failures),
        "timeout_s": rollout["timeoutSeconds"],
        "then_profile": rollout["thenProfile"],
    }


def device(found: dict[str, Any]) -> dict[str, Any]:
    """Return a device of a rollout as a row of a list."""
    return {"name": found["name"], "state": found["state"], "detail": found["cause"] or found["step"]}
