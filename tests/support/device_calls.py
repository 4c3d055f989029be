"""Changes of shared attributes, and calls to devices, as operators make them."""

from bench.registry import timeseries
from bench.registry.model import SHARED_SCOPE


def share(server, device_id, changed, deleted=()):
    """Set and delete shared attributes."""

    async def change(api):
        await api.registry.write(timeseries.set_attributes, device_id, SHARED_SCOPE, changed)
        await api.registry.write(timeseries.delete_attributes, device_id, SHARED_SCOPE, deleted)

    server.call(change)


def begin_call(server, device_id, method="reboot", params=None, *, oneway=False, timeout_s=10):
    """Call the device; the answer comes later."""
    calling = server.submit(
        lambda api: api.presence.call(device_id, method, params, oneway=oneway, timeout_s=timeout_s)
    )
    server.call(lambda _api: None)  # it has begun before the device sends anything
    return calling
