"""Client of ThingsBoard's REST API, as far as the bench needs it: for its own server and for any ThingsBoard."""

from bench.rest_client.session import LOGIN, Declined, Denied, NoAnswer, attempted, id_of, in_parallel, json_object
from bench.rest_client.thingsboard import ThingsBoard

__all__ = ["LOGIN", "Declined", "Denied", "NoAnswer", "ThingsBoard", "attempted", "id_of", "in_parallel", "json_object"]
