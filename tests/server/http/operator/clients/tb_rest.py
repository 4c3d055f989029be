"""An operator's work with the client tb_rest_client. Run beside a server: URL, user name, password."""

import json
import sys

from tb_rest_client import RestClient
from tb_rest_client.models import (
    BulkImportRequest,
    ColumnMapping,
    Customer,
    Device,
    DeviceProfile,
    DeviceProfileData,
    DeviceProfileProvisionConfiguration,
    DeviceProfileTransportConfiguration,
    Mapping,
    User,
)
from tb_rest_client.rest import ApiException

url, username, password = sys.argv[1:]


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == status, error
        return json.loads(error.body)["message"]
    raise AssertionError(f"{call} was not refused")


with RestClient(url) as client:
    client.login(username, "wrong")
    refused(401, client.get_user)
    client.login(username, password)
    client.refresh()
    assert client.get_user().email == username

    # profiles
    configuration = DeviceProfileProvisionConfiguration(
        type="CHECK_PRE_PROVISIONED_DEVICES", provision_device_secret="secret"
    )
    profile = client.save_device_profile(
        DeviceProfile(
            name="press",
            type="DEFAULT",
            transport_type="DEFAULT",
            provision_type="CHECK_PRE_PROVISIONED_DEVICES",
            provision_device_key="key",
            profile_data=DeviceProfileData(
                transport_configuration=DeviceProfileTransportConfiguration(type="DEFAULT"),
                provision_configuration=configuration,
            ),
        )
    )
    assert profile.provision_device_key == "key"
    assert [each.name for each in client.get_device_profiles(10, 0, text_search="press").data] == ["press"]
    assert client.get_default_device_profile_info().name == "default"

    # devices and credentials
    device = client.save_device(Device(name="press-1", device_profile_id=profile.id), access_token="token-1")
    assert device.type == "press"
    device.label = "right"
    assert client.save_device(device).label == "right"
    assert client.get_tenant_device("press-1").id.id == device.id.id
    assert [each.name for each in client.get_tenant_devices(10, 0).data] == ["press-1"]
    own = client.get_device_credentials_by_device_id(device.id)
    assert own.credentials_id == "token-1"
    own.credentials_id = "token-2"
    assert client.update_device_credentials(own).credentials_id == "token-2"
    assert [each.type for each in client.get_device_types()] == ["press"]
    assert client.device_controller.get_all_device_infos(page_size=5, page=0).total_elements == 1

    # attributes and telemetry
    client.save_device_attributes(device.id, "SHARED_SCOPE", {"target": 21.5})
    client.save_entity_attributes_v1(device.id, "SERVER_SCOPE", {"provisionState": "provisioned"})
    assert [each.value for each in client.get_attributes_by_scope(device.id, "SHARED_SCOPE", "target")] == [21.5]
    client.delete_entity_attributes(device.id, "SERVER_SCOPE", keys="provisionState")
    assert [each.key for each in client.get_attributes(device.id)] == ["target"]
    client.save_entity_telemetry(device.id, "ANY", {"ts": 1000, "values": {"temperature": 21}})
    assert [each.value for each in client.get_latest_timeseries(device.id)["temperature"]] == ["21"]
    history = client.get_timeseries(device.id, start_ts=0, end_ts=2000, keys="temperature", use_strict_data_types=True)
    assert [each.value for each in history["temperature"]] == [21]

    # bulk import
    mapping = Mapping(columns=[ColumnMapping(type="NAME")], delimiter=",", header=False, update=False)
    result = client.process_devices_bulk_import(BulkImportRequest(file="press-2\npress-1\n", mapping=mapping))
    assert (result.created, result.updated, result.errors) == (1, 1, 0)

    # customers
    customer = client.customer_controller.save_customer(body=Customer(title="Acme"))
    form = User(email="jo@example.com", authority="CUSTOMER_USER", customer_id=customer.id)
    user = client.user_controller.save_user(body=form, send_activation_mail=False)
    token = client.get_activation_link(user.id).split("activateToken=")[1]
    assert client.activate_user({"activateToken": token, "password": "password"}).token
    with RestClient(url) as jo:
        jo.login("jo@example.com", "password")
        refused(403, jo.get_device_by_id, device.id)
        refused(404, jo.device_controller.claim_device, device_name="nobody")

    # the audit trail, and the end
    assert client.get_audit_logs(100, 0).total_elements > 5
    client.delete_device(device.id)
    assert refused(404, client.get_device_by_id, device.id) == f"Device with id [{device.id.id}] is not found"
    client.logout()
