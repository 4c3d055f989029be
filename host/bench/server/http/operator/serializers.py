"""The registry's rows as ThingsBoard's JSON."""

import json
import uuid
from typing import Any

from bench.registry import api_keys
from bench.registry.calls import CallStatus
from bench.registry.credentials import DeviceCredentials
from bench.registry.model import ApiKey, Customer, Device, PersistentCall, Profile, User
from bench.registry.provision_type import ProvisionType
from bench.registry.roles import Role
from bench.server.http.operator.schemas.accounts import ApiKeyInfo, CustomerJson, UserJson
from bench.server.http.operator.schemas.common import NOBODY, BareId, Id
from bench.server.http.operator.schemas.devices import DEVICE_DATA, CredentialsJson, DeviceInfo, DeviceJson
from bench.server.http.operator.schemas.profiles import ProfileInfo, ProfileJson
from bench.server.http.operator.schemas.telemetry import RpcBodyJson, RpcJson, RpcRequestJson
from bench.server.http.operator.tokens import authority

_JSON = {"transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"}}
_TRANSPORT_DEFAULTS: dict[str, dict[str, Any]] = {
    "MQTT": {
        "deviceTelemetryTopic": "v1/devices/me/telemetry",
        "deviceAttributesTopic": "v1/devices/me/attributes",
        "deviceAttributesSubscribeTopic": "v1/devices/me/attributes",
        **_JSON,
        "sparkplug": False,
        "sparkplugAttributesMetricNames": None,
        "sendAckOnValidationException": False,
    },
    "COAP": {"coapDeviceTypeConfiguration": {"coapDeviceType": "DEFAULT", **_JSON}, "clientSettings": None},
}
_CREDENTIALS_IDS = uuid.UUID("6f4f0a52-3f0e-4a39-9c52-5d0d6c0e1b7e")


def customer_id(value: uuid.UUID | None) -> Id:
    """Return a customer's id, or the one that stands for nobody."""
    return Id(entity_type="CUSTOMER", id=value or NOBODY)


def package_id(value: uuid.UUID | None) -> Id | None:
    """Return a package's id, None for none."""
    return None if value is None else Id(entity_type="OTA_PACKAGE", id=value)


def id_in(value: Id | None) -> uuid.UUID | None:
    """Return the id that a client sent, None for none and for the one that stands for nobody."""
    return None if value is None or value.id == NOBODY else value.id


def user_json(tenant: Id, user: User) -> UserJson:
    """Return a user."""
    return UserJson(
        id=Id(entity_type="USER", id=user.id),
        created_time=user.created_ms,
        tenant_id=tenant,
        customer_id=customer_id(user.customer_id),
        email=user.email,
        name=user.email,
        authority=authority(user),  # type: ignore[arg-type] # one of the two
        role=Role(user.role) if user.customer_id is None else None,
        version=user.version,
        **user.details,
    )


def api_key_info(tenant: Id, key: ApiKey) -> ApiKeyInfo:
    """Return an API key, but for the key itself."""
    return ApiKeyInfo(
        id=Id(entity_type="API_KEY", id=key.id),
        created_time=key.created_ms,
        tenant_id=tenant,
        user_id=Id(entity_type="USER", id=key.user_id),
        expiration_time=key.expires_ms,
        description=key.description,
        enabled=key.enabled,
        expired=api_keys.is_expired(key),
        role=Role(key.role),
    )


def customer_json(tenant: Id, customer: Customer) -> CustomerJson:
    """Return a customer."""
    return CustomerJson(
        id=customer_id(customer.id),
        created_time=customer.created_ms,
        tenant_id=tenant,
        title=customer.title,
        name=customer.title,
        version=customer.version,
        **customer.details,
    )


def rpc_json(tenant: Id, call: PersistentCall) -> RpcJson:
    """Return a persistent call."""
    device = Id(entity_type="DEVICE", id=call.device_id)
    return RpcJson(
        id=Id(entity_type="RPC", id=call.id),
        created_time=call.created_ms,
        tenant_id=tenant,
        device_id=device,
        expiration_time=call.expires_ms,
        request=RpcRequestJson(
            id=call.id,
            tenant_id=tenant,
            device_id=device,
            oneway=call.oneway,
            expiration_time=call.expires_ms,
            body=RpcBodyJson(method=call.method, params=call.params),
            retries=call.retries,
        ),
        response=_json_in(call.response),
        status=CallStatus(call.status),
        additional_info=_json_in(call.additional_info),
    )


def _json_in(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _device_fields(tenant: Id, device: Device, profile_name: str) -> dict[str, Any]:
    return {
        "id": Id(entity_type="DEVICE", id=device.id),
        "created_time": device.created_ms,
        "tenant_id": tenant,
        "customer_id": customer_id(device.customer_id),
        "name": device.name,
        "type": profile_name,
        "label": device.label,
        "device_profile_id": Id(entity_type="DEVICE_PROFILE", id=device.profile_id),
        "firmware_id": package_id(device.firmware_id),
        "software_id": package_id(device.software_id),
        "device_data": {**DEVICE_DATA, **device.details.get("deviceData", {})},
        "version": device.version,
        "additional_info": device.additional_info,
    }


def device_json(tenant: Id, found: tuple[Device, str, str | None]) -> DeviceJson:
    """Return a device. `found`: with its profile's name and its customer's title."""
    return DeviceJson(**_device_fields(tenant, found[0], found[1]))


def device_info(tenant: Id, found: tuple[Device, str, str | None], *, active: bool) -> DeviceInfo:
    """Return a device with what it belongs to. `found`: with its profile's name and its customer's title."""
    device, profile, customer = found
    return DeviceInfo(
        **_device_fields(tenant, device, profile), customer_title=customer, device_profile_name=profile, active=active
    )


def credentials_id(device_id: uuid.UUID) -> BareId:
    """Return the id of a device's credentials."""
    return BareId(id=uuid.uuid5(_CREDENTIALS_IDS, str(device_id)))


def credentials_json(device: Device, own: DeviceCredentials, version: int) -> CredentialsJson:
    """Return a device's credentials."""
    return CredentialsJson(
        id=credentials_id(device.id),
        created_time=device.created_ms,
        device_id=Id(entity_type="DEVICE", id=device.id),
        credentials_type=own.type,
        credentials_id=own.id,
        credentials_value=own.value,
        version=version,
    )


def with_defaults(transport_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a profile with what ThingsBoard fills in."""
    transport = {"type": transport_type, **data.get("transportConfiguration", {})}
    return {
        "configuration": {"type": "DEFAULT"},
        **data,
        "transportConfiguration": {**_TRANSPORT_DEFAULTS.get(transport["type"], {}), **transport},
    }


def profile_json(tenant: Id, profile: Profile, secret: str | None) -> ProfileJson:
    """Return a profile, with all that a client once sent along."""
    details = dict(profile.details)
    data = with_defaults(profile.transport_type, details.pop("profileData", {}))
    provision: dict[str, Any] = {"type": profile.provision_type, "provisionDeviceSecret": secret}
    if profile.provision_type == ProvisionType.X509_CERTIFICATE_CHAIN:
        provision["certificateRegExPattern"] = profile.certificate_pattern
        provision["allowCreateNewDevicesByX509Certificate"] = profile.allow_create
    return ProfileJson.model_validate(
        {
            **details,
            "id": Id(entity_type="DEVICE_PROFILE", id=profile.id),
            "createdTime": profile.created_ms,
            "tenantId": tenant,
            "name": profile.name,
            "transportType": profile.transport_type,
            "provisionType": profile.provision_type,
            "provisionDeviceKey": profile.provision_key,
            "profileData": {**data, "provisionConfiguration": provision},
            "default": profile.is_default,
            "version": profile.version,
            "firmwareId": package_id(profile.firmware_id),
            "softwareId": package_id(profile.software_id),
        }
    )


def profile_info(tenant: Id, profile: Profile) -> ProfileInfo:
    """Return a profile in short."""
    return ProfileInfo(
        id=Id(entity_type="DEVICE_PROFILE", id=profile.id),
        tenant_id=tenant,
        name=profile.name,
        image=profile.details.get("image"),
        default_dashboard_id=profile.details.get("defaultDashboardId"),
        transport_type=profile.transport_type,
    )
