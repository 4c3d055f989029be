"""An operator's work with the client tb_ce_client. Run beside a server: URL, user name, password."""

import json
import sys

from tb_ce_client.client import ThingsboardClient
from tb_ce_client.exceptions import (
    BadRequestException,
    ForbiddenException,
    NotFoundException,
    UnauthorizedException,
)
from tb_ce_client.models import (
    ActivateUserRequest,
    AllowCreateNewDevicesDeviceProfileProvisionConfiguration,
    BulkImportRequest,
    ClaimRequest,
    ColumnMapping,
    Customer,
    DefaultDeviceProfileTransportConfiguration,
    Device,
    DeviceCredentials,
    DeviceCredentialsId,
    DeviceProfile,
    DeviceProfileData,
    Mapping,
    SaveDeviceWithCredentialsRequest,
    SaveOtaPackageInfoRequest,
    User,
)

url, username, password = sys.argv[1:]


def refused(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        body = json.loads(error.body)
        return body["message"] if isinstance(body, dict) else body
    raise AssertionError(f"{call} was not refused")


refused(UnauthorizedException, ThingsboardClient, url, username, "wrong")
client = ThingsboardClient(url, username, password)
me = client.get_user()
assert (me.email, me.authority) == (username, "TENANT_ADMIN")

# profiles
configuration = AllowCreateNewDevicesDeviceProfileProvisionConfiguration(
    type="ALLOW_CREATE_NEW_DEVICES", provision_device_secret="secret"
)
transport = DefaultDeviceProfileTransportConfiguration(type="DEFAULT")
profile = client.save_device_profile(
    DeviceProfile(
        name="press",
        type="DEFAULT",
        transport_type="DEFAULT",
        provision_type="ALLOW_CREATE_NEW_DEVICES",
        provision_device_key="key",
        profile_data=DeviceProfileData(transport_configuration=transport, provision_configuration=configuration),
    )
)
profile.description = "presses"
profile = client.save_device_profile(profile)
assert client.get_device_profile_by_id(str(profile.id.id)) == profile
assert profile.profile_data.provision_configuration.provision_device_secret == "secret"
page = client.get_device_profiles(page_size=10, page=0, sort_property="name", sort_order="ASC")
assert [each.name for each in page.data] == ["default", "press"]
infos = client.get_device_profile_infos(page_size=10, page=0, text_search="press").data
assert [each.id for each in infos] == [profile.id]
assert client.get_default_device_profile_info().name == "default"
assert client.get_device_profile_info_by_id(str(profile.id.id)).name == "press"
assert {each.name for each in client.get_device_profile_names()} == {"default", "press"}
second_of_its_name = DeviceProfile(
    name="press",
    type="DEFAULT",
    transport_type="DEFAULT",
    profile_data=DeviceProfileData(transport_configuration=transport),
)
taken = refused(BadRequestException, client.save_device_profile, second_of_its_name)
assert taken == "Device profile with such name already exists!"

# devices and credentials
device = client.save_device(Device(name="press-1", label="left", device_profile_id=profile.id), access_token="token-1")
assert (device.type, device.device_profile_id) == ("press", profile.id)
device.label = "right"
assert client.save_device(device).label == "right"
assert client.get_device_by_id(str(device.id.id)).label == "right"
assert client.get_tenant_device_by_name("press-1").id == device.id
assert client.get_device_info_by_id(str(device.id.id)).device_profile_name == "press"
own = client.get_device_credentials_by_device_id(str(device.id.id))
assert (own.credentials_type, own.credentials_id) == ("ACCESS_TOKEN", "token-1")
own.credentials_type, own.credentials_value = "MQTT_BASIC", '{"clientId":null,"userName":"u","password":"p"}'
assert client.update_device_credentials(own).credentials_id == "u"
second = client.save_device_with_credentials(
    SaveDeviceWithCredentialsRequest(
        device=Device(name="press-2"),
        credentials=DeviceCredentials(
            id=DeviceCredentialsId(id=device.id.id),
            device_id=device.id,
            credentials_type="ACCESS_TOKEN",
            credentials_id="token-2",
        ),
    )
)
assert [each.name for each in client.get_tenant_devices(page_size=5, page=0, type="press").data] == ["press-1"]
infos = client.get_tenant_device_infos(page_size=5, page=0, text_search="PRESS-", sort_property="name")
assert (infos.total_elements, infos.has_next, infos.data[0].active) == (2, False, False)
assert len(client.get_devices_by_ids([str(device.id.id), str(second.id.id)])) == 2
assert {each.type for each in client.get_device_types()} == {"press", "default"}

# attributes and telemetry
kind, device_id = "DEVICE", str(device.id.id)
client.save_entity_attributes_v2(kind, device_id, "SHARED_SCOPE", '{"target": 21.5}')
client.save_device_attributes(device_id, "SERVER_SCOPE", '{"provisionState": "provisioned", "x": true}')
(target,) = client.get_attributes(kind, device_id, keys="target")
assert (target.key, target.value) == ("target", 21.5)
assert sorted(client.get_attribute_keys(kind, device_id)) == ["provisionState", "target", "x"]
client.delete_device_attributes(device_id, "SERVER_SCOPE", keys="provisionState")
assert client.get_attribute_keys_by_scope(kind, device_id, "SERVER_SCOPE") == ["x"]
client.save_entity_telemetry(kind, device_id, "ANY", '{"ts": 1000, "values": {"temperature": 21}}')
latest = client.get_latest_timeseries(kind, device_id, keys="temperature", use_strict_data_types=True)
assert [(each.ts, each.value) for each in latest["temperature"]] == [(1000, 21)]
history = client.get_timeseries_history(kind, device_id, keys="temperature", start_ts=0, end_ts=2000)
assert [each.value for each in history["temperature"]] == ["21"]
assert client.get_timeseries_keys(kind, device_id) == ["temperature"]
client.delete_entity_timeseries(kind, device_id, keys="temperature", delete_all_data_for_keys=True)
assert client.get_timeseries_keys(kind, device_id) == []

# bulk import
columns = [ColumnMapping(type=each) for each in ("NAME", "TYPE", "ACCESS_TOKEN")]
mapping = Mapping(columns=columns, delimiter=",", header=True, update=True)
file = "NAME,TYPE,TOKEN\npress-3,press,token-3\n,press,token-4\n"
result = client.process_devices_bulk_import(BulkImportRequest(file=file, mapping=mapping))
assert (result.created, result.updated, result.errors, len(result.errors_list)) == (1, 0, 1, 1)

# packages
request = SaveOtaPackageInfoRequest(type="FIRMWARE", title="press", version="1.1", device_profile_id=profile.id)
package = client.save_ota_package_info(request)
assert not package.has_data
package_id, content = str(package.id.id), bytes(range(256)) * 9
package = client.save_ota_package_data(package_id, "MURMUR3_128", ("press.bin", content))
assert (package.has_data, package.data_size, package.file_name) == (True, len(content), "press.bin")
assert client.get_ota_package_info_by_id(package_id).checksum == package.checksum
assert client.download_ota_package(package_id) == content
offered = client.get_ota_packages_by_device_profile_and_type(str(profile.id.id), "FIRMWARE", 5, 0)
assert [each.title for each in offered.data] == ["press"]
device = client.get_device_by_id(device_id)
device.firmware_id = package.id
assert client.save_device(device).firmware_id == package.id
(found,) = client.get_attributes(kind, device_id, keys="fw_version")
assert found.value == "1.1"
in_use = refused(BadRequestException, client.delete_ota_package, package_id)
assert in_use == "The otaPackage referenced by the devices cannot be deleted!"
device = client.get_device_by_id(device_id)
device.firmware_id = None
client.save_device(device)
client.delete_ota_package(package_id)

# customers
customer = client.save_customer(Customer(title="Acme"))
user = client.save_user(
    User(email="jo@example.com", authority="CUSTOMER_USER", customer_id=customer.id), send_activation_mail="false"
)
link = client.get_activation_link(str(user.id.id))
pair = client.activate_user(ActivateUserRequest(activate_token=link.split("activateToken=")[1], password="password"))
assert pair.token
jo = ThingsboardClient(url, "jo@example.com", "password")
refused(ForbiddenException, jo.get_device_by_id, device_id)
assert client.assign_device_to_customer(str(customer.id.id), device_id).customer_id == customer.id
assert jo.get_device_by_id(device_id).name == "press-1"
assert [each.name for each in jo.get_customer_devices(str(customer.id.id), 5, 0).data] == ["press-1"]
client.unassign_device_from_customer(device_id)
refused(ForbiddenException, jo.get_device_by_id, device_id)
assert refused(BadRequestException, jo.claim_device, "press-1", ClaimRequest(secret_key="x")) == "FAILURE"
assert [each.title for each in client.get_customers(page_size=5, page=0).data] == ["Acme"]

# the audit trail, and the end
rows = client.get_audit_logs(page_size=100, page=0).data
assert {"ADDED", "UPDATED", "LOGIN", "CREDENTIALS_UPDATED"} <= {each.action_type.value for each in rows}
client.delete_device(device_id)
refused(NotFoundException, client.get_device_by_id, device_id)
client.delete_customer(str(customer.id.id))
client.logout()
