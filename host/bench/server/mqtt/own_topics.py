"""Topics of a profile's own for telemetry and attributes, in the place of `v1/devices/me/...`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.server.mqtt import topics
from bench.server.mqtt.topics import LONG, ParsedTopic, TopicKind

_ATTRIBUTES = ParsedTopic(TopicKind.ATTRIBUTES)
_TELEMETRY = ParsedTopic(TopicKind.TELEMETRY)


@dataclass(frozen=True)
class OwnTopics:
    """The MQTT part of a profile: filters of topics, and what becomes of messages that cannot be read."""

    telemetry: str = LONG.telemetry
    attributes: str = LONG.attributes
    subscription: str = LONG.attributes
    """Also granted as a subscription to attributes, which come on `v1/devices/me/attributes` all the same."""
    acknowledges_invalid: bool = False

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> "OwnTopics":
        """Return the topics of a transport configuration of ThingsBoard's type MQTT."""

        def text(name: str, default: str) -> str:
            value = configuration.get(name)
            return value if isinstance(value, str) and value else default

        return cls(
            text("deviceTelemetryTopic", LONG.telemetry),
            text("deviceAttributesTopic", LONG.attributes),
            text("deviceAttributesSubscribeTopic", LONG.attributes),
            configuration.get("sendAckOnValidationException") is True,
        )

    def parse(self, topic: str) -> ParsedTopic:
        """Return the meaning of a topic that a device publishes to."""
        parsed = topics.parse(topic)
        if parsed.kind is TopicKind.GATEWAY:
            return parsed
        if _fits(self.attributes, topic):
            return _ATTRIBUTES
        if _fits(self.telemetry, topic):
            return _TELEMETRY
        return topics.OTHER if topic in (LONG.telemetry, LONG.attributes) else parsed


STANDARD = OwnTopics()


def _fits(wanted: str, topic: str) -> bool:
    """Return whether a filter, with `+` for a level or `#` for all that follow, matches a topic."""
    levels, parts = wanted.split("/"), topic.split("/")
    if levels[-1] == "#":
        levels, parts = levels[:-1], parts[: len(levels) - 1]
    return len(levels) == len(parts) and all(
        level == part or (level == "+" and part) for level, part in zip(levels, parts, strict=True)
    )
