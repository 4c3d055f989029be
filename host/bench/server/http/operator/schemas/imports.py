"""JSON of imports of many devices at once, and its answer."""

from typing import Literal

from pydantic import Field

from bench.server.http.operator.schemas.common import ThingsBoardModel

ColumnType = Literal[
    "NAME",
    "TYPE",
    "LABEL",
    "SHARED_ATTRIBUTE",
    "SERVER_ATTRIBUTE",
    "TIMESERIES",
    "ACCESS_TOKEN",
    "X509",
    "MQTT_CLIENT_ID",
    "MQTT_USER_NAME",
    "MQTT_PASSWORD",
    "LWM2M_CLIENT_ENDPOINT",
    "LWM2M_CLIENT_SECURITY_CONFIG_MODE",
    "LWM2M_CLIENT_IDENTITY",
    "LWM2M_CLIENT_KEY",
    "LWM2M_CLIENT_CERT",
    "LWM2M_BOOTSTRAP_SERVER_SECURITY_MODE",
    "LWM2M_BOOTSTRAP_SERVER_PUBLIC_KEY_OR_ID",
    "LWM2M_BOOTSTRAP_SERVER_SECRET_KEY",
    "LWM2M_SERVER_SECURITY_MODE",
    "LWM2M_SERVER_CLIENT_PUBLIC_KEY_OR_ID",
    "LWM2M_SERVER_CLIENT_SECRET_KEY",
    "SNMP_HOST",
    "SNMP_PORT",
    "SNMP_VERSION",
    "SNMP_COMMUNITY_STRING",
    "IS_GATEWAY",
    "DESCRIPTION",
    "ROUTING_KEY",
    "SECRET",
    "SERIAL_NUMBER",  # this one and the next are not ThingsBoard's
    "FIELD",
]


class Column(ThingsBoardModel):
    type: ColumnType
    key: str | None = Field(default=None, description="The name of the attribute, series or field.")


class Mapping(ThingsBoardModel):
    columns: list[Column]
    delimiter: str = Field(pattern='^[^"\\r\\n]$')
    header: bool = True
    update: bool = Field(description="Whether devices that exist get attributes and telemetry too.")


class ImportForm(ThingsBoardModel):
    file: str = Field(repr=False, description="CSV text.", examples=["NAME,TYPE\npress-4,press\n"])
    mapping: Mapping


class ImportResult(ThingsBoardModel):
    created: int
    updated: int
    errors: int
    errors_list: list[str] = Field(examples=[["Line 2: Device name should be specified!"]])
