"""The topics of ThingsBoard's device API, in their three forms that carry JSON."""

import re
from dataclasses import dataclass
from enum import Enum, auto

PROVISION_REQUEST = "/provision/request"
PROVISION_RESPONSE = "/provision/response"
PACKAGE_ERROR = "v2/fw/error"  # for both kinds of packages

_GATEWAY = "v1/gateway"
GATEWAY_CONNECT = f"{_GATEWAY}/connect"
GATEWAY_DISCONNECT = f"{_GATEWAY}/disconnect"
GATEWAY_TELEMETRY = f"{_GATEWAY}/telemetry"
GATEWAY_ATTRIBUTES = f"{_GATEWAY}/attributes"
GATEWAY_ATTRIBUTE_REQUEST = f"{_GATEWAY}/attributes/request"
GATEWAY_ATTRIBUTE_RESPONSE = f"{_GATEWAY}/attributes/response"
GATEWAY_RPC = f"{_GATEWAY}/rpc"
GATEWAY_CLAIM = f"{_GATEWAY}/claim"
_CLAIM = "v1/devices/me/claim"
_PROTOBUF_CALL = "v2/r/req/p/"
_ID = re.compile(r"[+-]?\d+")
_CHUNK = re.compile(r"v2/(fw|sw)/request/(\d+)/chunk/(\d+)", re.ASCII)


@dataclass(frozen=True, eq=False)
class TopicForm:
    """One way to write the topics. Those of requests and responses end with an id."""

    telemetry: str
    attributes: str
    attribute_request: str
    attribute_response: str
    rpc_request: str
    rpc_response: str


LONG = TopicForm(
    "v1/devices/me/telemetry",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/request/",
    "v1/devices/me/attributes/response/",
    "v1/devices/me/rpc/request/",
    "v1/devices/me/rpc/response/",
)
_SHORT = TopicForm("v2/t", "v2/a", "v2/a/req/", "v2/a/res/", "v2/r/req/", "v2/r/res/")
_SHORT_JSON = TopicForm("v2/t/j", "v2/a/j", "v2/a/req/j/", "v2/a/res/j/", "v2/r/req/j/", "v2/r/res/j/")
_FORMS = (LONG, _SHORT_JSON, _SHORT)  # the last one's topics are beginnings of those before it


class TopicKind(Enum):
    """The kinds of messages that a device publishes."""

    TELEMETRY = auto()
    ATTRIBUTES = auto()
    ATTRIBUTE_REQUEST = auto()
    CALL = auto()
    ANSWER = auto()
    CLAIM = auto()
    CHUNK_REQUEST = auto()
    GATEWAY = auto()
    """The API of gateways."""
    PROTOBUF = auto()
    """Protobuf, which only profiles with a schema speak, and none here."""
    OTHER = auto()


@dataclass(frozen=True)
class ParsedTopic:
    """A topic that was read."""

    kind: TopicKind
    form: TopicForm = LONG
    rest: str = ""
    """The id, not checked yet; of a chunk `fw/1/0`: the kind of package, the request's id, the chunk's number."""


_PROTOBUF = ParsedTopic(TopicKind.PROTOBUF)
_EXACT = {
    _CLAIM: ParsedTopic(TopicKind.CLAIM),
    "v2/t/p": _PROTOBUF,
    "v2/a/p": _PROTOBUF,
    **{form.telemetry: ParsedTopic(TopicKind.TELEMETRY, form) for form in _FORMS},
    **{form.attributes: ParsedTopic(TopicKind.ATTRIBUTES, form) for form in _FORMS},
}
_PREFIXES = [
    (prefix, kind, form)
    for form in _FORMS
    for prefix, kind in (
        (form.attribute_request, TopicKind.ATTRIBUTE_REQUEST),
        (form.rpc_response, TopicKind.ANSWER),
        (form.rpc_request, TopicKind.CALL),
    )
]
OTHER = ParsedTopic(TopicKind.OTHER)

ATTRIBUTE_FILTERS = {form.attributes: form for form in _FORMS}
RPC_FILTERS = {f"{form.rpc_request}+": form for form in _FORMS}
# What a device may subscribe to; nothing else, whatever it would match.
DEVICE_FILTERS = frozenset(
    (
        *ATTRIBUTE_FILTERS,
        *RPC_FILTERS,
        *(f"{form.attribute_response}+" for form in _FORMS),
        *(f"{form.rpc_response}+" for form in _FORMS),
        GATEWAY_ATTRIBUTES,
        GATEWAY_RPC,
        GATEWAY_ATTRIBUTE_RESPONSE,
        "v2/fw/response/+/chunk/+",
        "v2/fw/error",
        "v2/sw/response/+/chunk/+",
        "v2/sw/error",
    )
)


def parse(topic: str) -> ParsedTopic:
    """Return the meaning of a topic that a device publishes to."""
    if (exact := _EXACT.get(topic)) is not None:
        return exact
    if topic.startswith(_GATEWAY):
        return ParsedTopic(TopicKind.GATEWAY)
    if topic.startswith(_PROTOBUF_CALL):
        return _PROTOBUF
    for prefix, kind, form in _PREFIXES:
        if topic.startswith(prefix):
            return ParsedTopic(kind, form, topic[len(prefix) :])
    if chunk := _CHUNK.search(topic):  # anywhere, as upstream has it
        return ParsedTopic(TopicKind.CHUNK_REQUEST, rest="/".join(chunk.groups()))
    return OTHER


def parse_int32(text: str) -> int | None:
    """Return a whole number of 32 bits, as Java reads it; None if it is not one."""
    if not _ID.fullmatch(text):
        return None
    try:
        number = int(text)
    except ValueError:  # thousands of digits
        return None
    return number if -1 << 31 <= number < 1 << 31 else None


def matches(wanted: str, topic: str) -> bool:
    """Return whether a filter (one of those above, so without `#`) matches a topic."""
    levels, parts = wanted.split("/"), topic.split("/")
    return len(levels) == len(parts) and all(
        level == part or (level == "+" and part) for level, part in zip(levels, parts, strict=True)
    )
