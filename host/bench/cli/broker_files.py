"""The part of a broker's own configuration that has it ask this server about devices."""

from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from bench.cli.options.operator_session import http_url


class Kind(StrEnum):
    """The broker whose configuration is wanted."""

    EMQX = "emqx"
    RABBITMQ = "rabbitmq"
    MOSQUITTO = "mosquitto"


@dataclass(frozen=True)
class BrokerLogin:
    """A broker's name and key, and the URL of the server that it asks. Raises UsageError for what is not a URL."""

    name: str
    key: str = field(repr=False)
    server: str

    def __post_init__(self) -> None:
        http_url(self.server)

    @property
    def header(self) -> str:
        """The value of the header Authorization."""
        return "Basic " + b64encode(f"{self.name}:{self.key}".encode()).decode()

    def config(self, kind: Kind) -> str:
        """Return lines for a broker's configuration; they hold the key."""
        return {Kind.EMQX: self._emqx, Kind.RABBITMQ: self._rabbitmq, Kind.MOSQUITTO: self._mosquitto}[kind]()

    def _emqx(self) -> str:
        def query(path: str, *names: str) -> str:
            fields = "".join(f'      {name} = "${{{name}}}"\n' for name in names)
            return (
                "    method = post\n"
                f'    url = "{self.server.rstrip("/")}/iot/broker/{path}/"\n'
                "    headers {\n"
                '      "content-type" = "application/json"\n'
                f'      authorization = "{self.header}"\n'
                "    }\n"
                f"    body {{\n{fields}    }}\n"
            )

        return (
            "# For etc/emqx.conf of EMQX 5 or newer. (EMQX 4 takes every answer for a yes.)\n"
            "authentication = [\n  {\n    mechanism = password_based\n    backend = http\n"
            f"{query('auth', 'username', 'password', 'clientid', 'peerhost')}  }}\n]\n"
            "authorization {\n"
            "  # also while this server does not answer\n  no_match = deny\n  cache.enable = false\n"
            "  sources = [\n    {\n    type = http\n"
            f"{query('acl', 'username', 'clientid', 'topic', 'action')}    }}\n  ]\n}}\n"
        )

    def _rabbitmq(self) -> str:
        scheme, _, rest = self.server.rstrip("/").partition("://")
        base = f"{scheme}://{self.name}:{self.key}@{rest}/iot/broker/rabbitmq"
        paths = "".join(f"auth_http.{each}_path = {base}/{each}\n" for each in ("user", "vhost", "resource", "topic"))
        return (
            "# For rabbitmq.conf. Users of RabbitMQ's own come first, devices after them.\n"
            "auth_backends.1 = internal\nauth_backends.2 = http\nmqtt.allow_anonymous = false\n"
            f"auth_http.http_method = post\n{paths}"
        )

    def _mosquitto(self) -> str:
        url = urlsplit(self.server)
        port = url.port or (443 if url.scheme == "https" else 80)
        tls = "auth_opt_http_with_tls true\nauth_opt_http_verify_peer true\n" if url.scheme == "https" else ""
        return (
            "# For mosquitto.conf, after the line auth_plugin with the path of mosquitto-go-auth.\n"
            "allow_anonymous false\nauth_opt_backends http\n"
            f"auth_opt_http_host {self.name}:{self.key}@{url.hostname}\nauth_opt_http_port {port}\n{tls}"
            "auth_opt_http_getuser_uri /iot/broker/mosquitto/user\n"
            "auth_opt_http_superuser_uri /iot/broker/mosquitto/superuser\n"
            "auth_opt_http_aclcheck_uri /iot/broker/mosquitto/acl\n"
            "auth_opt_http_params_mode json\nauth_opt_http_response_mode json\n"
        )
