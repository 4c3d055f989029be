"""Helpers for tests of the operators' API: clients that are logged in, and unique names."""

import datetime as dt
import json
import ssl
import uuid

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.registry import passwords, users
from bench.registry.model import Customer
from bench.registry.roles import Role
from tests.support import secrecy

# There is none. By default each client reads all public authorities, which takes longer than what a test asks.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def account(server):
    """Return the account that a first start makes."""
    return json.loads((server.data / "operator.json").read_text())


def options(server, folder, who=None):
    """Return the options of a command that name a running server and an account there, the operator's by default."""
    who = who or account(server)
    file = folder / ("password" if who == account(server) else f"password-of-{who['username']}")
    file.write_text(who["password"] + "\n")
    url = f"http://127.0.0.1:{server.ports.http}"
    return ("--url", url, "--user", who["username"], "--password-file", str(file))


def client(server, token=None):
    """Return a client with a token, or without."""
    headers = {"X-Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.ports.http}", headers=headers, timeout=30, verify=_NO_TLS)


def login(server, who=None):
    """Return a client that is logged in; as the operator by default."""
    who = who or account(server)
    with client(server) as anonymous:
        answer = anonymous.post("/api/auth/login", json=who)
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return client(server, answer.json()["token"])


def name(what="x"):
    return f"{what}-{uuid.uuid4().hex[:12]}"


def refused(answer, status, code, message=None):
    """Expect an error in ThingsBoard's form, and return its message."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    body = answer.json()
    assert set(body) == {"status", "message", "errorCode", "timestamp"}
    assert (body["status"], body["errorCode"]) == (status, code)
    if message is not None:
        assert body["message"] == message
    return body["message"]


def make_certificate():
    """Return a new self-signed certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name("authority"))])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def ok(answer):
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def new_device(operator, **fields):
    return ok(operator.post("/api/device", json={"name": name("device"), **fields}))


def new_profile(operator, strategy="DISABLED", **fields):
    """Make a profile with a key and a secret."""
    form = {
        "name": name("profile"),
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "provisionType": strategy,
        "provisionDeviceKey": name("key"),
        "profileData": {
            "transportConfiguration": {"type": "DEFAULT"},
            "provisionConfiguration": {"type": strategy, "provisionDeviceSecret": name("secret")},
        },
        **fields,
    }
    return ok(operator.post("/api/deviceProfile", json=form))


def plain(answer, status, message):
    """Expect an error of the telemetry and RPC routes, which is text."""
    assert (answer.status_code, answer.text) == (status, message)
    assert answer.headers["content-type"].startswith("text/plain")


def new_credentials(operator, device, **fields):
    """Return the form that replaces a device's credentials."""
    return {**ok(operator.get(f"/api/device/{device['id']['id']}/credentials")), "credentialsValue": None, **fields}


def activated(server, operator, user, password="a-password"):
    """Give a new account its password, and return a client that is logged in."""
    link = operator.get(f"/api/user/{user['id']['id']}/activationLink").text
    with client(server) as anonymous:
        form = {"activateToken": link.split("activateToken=")[1], "password": password}
        return client(server, ok(anonymous.post("/api/noauth/activate", json=form))["token"])


def new_account(server, role=Role.OPERATOR, customer=None):
    """Make an account without the API, whose password is random and so quick to check; return what logs in to it."""
    who = {"username": f"{name('op')}@example.com", "password": name("password")}

    def create(session):
        of = session.get(Customer, uuid.UUID(customer["id"]["id"])) if customer else None
        quick = passwords.hashed(who["password"], is_random=True)
        users.create(session, who["username"], of, role=role, password_hash=quick)

    server.query(lambda registry: registry.write(create))
    return who


def new_operator(server, role):
    """Make an operator with a role, and return a client that is logged in."""
    return login(server, new_account(server, role))


def new_customers_user(server, operator):
    """Make a customer with a user; return the customer, and a client of the user. Quicker than `new_customer`."""
    customer = ok(operator.post("/api/customer", json={"title": name("customer")}))
    return customer, login(server, new_account(server, customer=customer))


def new_key(owner, user=None, **fields):
    """Make an API key, of whoever makes it by default; the key itself is its `value`."""
    form = {
        "userId": user or ok(owner.get("/api/auth/user"))["id"],
        "description": name("key"),
        "enabled": True,
        **fields,
    }
    made = ok(owner.post("/api/apiKey", json=form))
    secrecy.issued.add(made["value"])
    return made


def with_key(server, key):
    """Return a client with an API key."""
    found = client(server)
    found.headers["X-Authorization"] = f"ApiKey {key}"
    return found


def new_customer(server, operator):
    """Make a customer with a user; return the customer, and a client of the user."""
    customer = ok(operator.post("/api/customer", json={"title": name("customer")}))
    form = {"email": f"{name('jo')}@example.com", "authority": "CUSTOMER_USER", "customerId": customer["id"]}
    user = ok(operator.post("/api/user?sendActivationMail=false", json=form))
    return customer, activated(server, operator, user)


def customer_user(server, operator):
    """Make a customer with a user; return the customer, and the user's account."""
    customer, user = new_customer(server, operator)
    with user:
        email = ok(user.get("/api/auth/user"))["email"]
    return customer, {"username": email, "password": "a-password"}


def set_attributes(operator, device, scope="SERVER_SCOPE", **stored):
    ok(operator.post(f"/api/plugins/telemetry/{device}/{scope}", json=stored))


def values(operator, device, scope, **query):
    found = ok(operator.get(f"/api/plugins/telemetry/DEVICE/{device}/values/attributes/{scope}", params=query))
    return {each["key"]: each["value"] for each in found}


def everything(operator):
    """All profiles and devices of a server, with the devices' credentials."""
    profiles, devices = (
        ok(operator.get(f"/api/{kind}?pageSize=100&page=0"))["data"] for kind in ("deviceProfiles", "tenant/devices")
    )
    return [profiles, devices, [ok(operator.get(f"/api/device/{each['id']['id']}/credentials")) for each in devices]]
