"""Bugs of servers: each is a patch of the real one, which is right again when the patch ends."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace

from aiocoap import Message
from aiocoap.numbers import codes
from starlette.responses import Response

from bench.contract import releases
from bench.contract.credentials import CredentialsType
from bench.errors import Refused
from bench.mqtt import codec
from bench.mqtt.codec import Connect, ReasonCode, ReturnCode
from bench.registry import credentials as kinds
from bench.registry import import_cells, logins, names, packages, provisioning
from bench.registry.credentials import access_token
from bench.registry.packages import Kind
from bench.registry.provisioning import ProvisionOutcome, Status
from bench.registry.registry import Registry
from bench.server import device_json, json_reader
from bench.server.coap.server import CoapServer
from bench.server.coap.stack import _Messages
from bench.server.device_api import DeviceApi
from bench.server.http import device as http_device
from bench.server.http import error_responses, tomcat
from bench.server.http.operator import params, saving
from bench.server.mqtt import chunk_requests, login, topics
from bench.server.mqtt.chunk_requests import ChunkRequests
from bench.server.mqtt.connection import DeviceConnection
from bench.server.mqtt.device_session import DeviceSession
from bench.server.mqtt.listener import Gateway
from bench.server.mqtt.provision_session import ProvisionSession
from bench.server.mqtt.session import MqttSession
from bench.server.mqtt.versions import LoginRefused, MqttVersion
from bench.server.packages import Packages
from bench.server.presence import SessionEnd


def always(value):
    return lambda *_: value


def answers_everyone(patch):
    publish = ProvisionSession._publish

    def broadcast(self, topic, payload):
        for connection in list(self._link._owner.connections):
            if isinstance(connection._session, ProvisionSession):
                publish(connection._session, topic, payload)

    patch.setattr(ProvisionSession, "_publish", broadcast)


def passes_on_what_is_published(patch):
    publish = ProvisionSession._on_publish

    async def broker(self, packet):
        for connection in list(self._link._owner.connections):
            if isinstance(connection._session, ProvisionSession) and connection is not self._link:
                connection._session._publish(packet.topic, packet.payload)
        await publish(self, packet)

    patch.setattr(ProvisionSession, "_on_publish", broker)


def commits_after_the_answer(patch):
    """So late that whoever asks for it at once does not find it, and the next one does."""
    provision, token_login, login, late = Registry.provision, DeviceApi.token_login, DeviceApi.login, []

    async def hasty(self, request, origin):
        if not request.token:
            return await provision(self, request, origin)
        late.append((request, origin))
        return ProvisionOutcome(status=Status.SUCCESS, credentials=access_token(request.token))

    def then_committing(look):
        async def looked(self, shown, source, **options):
            device = await look(self, shown, source, **options)
            while late:
                await provision(self.registry, *late.pop())
            return device

        return looked

    patch.setattr(Registry, "provision", hasty)
    patch.setattr(DeviceApi, "token_login", then_committing(token_login))
    patch.setattr(DeviceApi, "login", then_committing(login))


def does_not_commit(patch):
    async def forgetful(self, request, origin):
        return ProvisionOutcome(status=Status.SUCCESS, credentials=access_token(request.token or names.random_text()))

    patch.setattr(Registry, "provision", forgetful)


def takes_any_secret(patch):
    patch.setattr(provisioning._Batch, "_is_right", always(True))


def takes_a_secret_with_blanks(patch):
    is_right = provisioning._Batch._is_right

    def trimming(self, entry, secret):
        return is_right(self, entry, secret) or entry.request.secret.strip() == secret

    patch.setattr(provisioning._Batch, "_is_right", trimming)


def gives_a_name_twice(patch):
    decide = provisioning._Batch.decide

    def generous(self, entry):
        outcome = decide(self, entry)
        if outcome.status is Status.FAILURE and entry.name in self.devices:
            return ProvisionOutcome(status=Status.SUCCESS, credentials=entry.own or access_token(names.random_text()))
        return outcome

    patch.setattr(provisioning._Batch, "decide", generous)


def lets_all_win_at_once(patch):
    provision, under_way = Registry.provision, {}

    async def racing(self, request, origin):
        name = request.device_name
        racers = under_way.setdefault(name, [])
        racers.append(request)
        await asyncio.sleep(0.05)  # looks whether there is such a device; and only then makes it
        try:
            outcome = await provision(self, request, origin)
            if outcome.status is Status.FAILURE and len(racers) > 1:
                return ProvisionOutcome(status=Status.SUCCESS, credentials=access_token(request.token))
            return outcome
        finally:
            if len(racers) == 1:
                del under_way[name]

    patch.setattr(Registry, "provision", racing)


def makes_its_own_token(patch):
    requested = kinds.CredentialsRequest.requested

    def stubborn(self):
        own = requested(self)
        return None if own and own.type is CredentialsType.ACCESS_TOKEN else own

    patch.setattr(kinds.CredentialsRequest, "requested", stubborn)


def makes_short_tokens(patch):
    patch.setattr(names, "random_text", lambda: secrets.token_hex(4))


def lets_anybody_in_over_mqtt(patch):
    login, known = DeviceApi.login, []

    async def credulous(self, shown, source):
        device = await login(self, shown, source)
        known[:] = [device] if device else known
        return device or (known or [logins.DeviceLogin(None, "x", "DEFAULT", ("", None))])[0]

    patch.setattr(DeviceApi, "login", credulous)


def knows_any_token(patch):
    token_login, known = DeviceApi.token_login, []

    async def credulous(self, token, source, **options):
        device = await token_login(self, token, source, **options)
        known[:] = [device] if device else known
        return device or known[0]

    patch.setattr(DeviceApi, "token_login", credulous)


def forgets_what_came_over_another_transport(patch):
    provision, token_login, transports = DeviceApi.provision, DeviceApi.token_login, {}

    async def noting(self, payload, source):
        outcome = await provision(self, payload, source)
        if outcome.credentials:
            transports[outcome.credentials.id] = source.transport
        return outcome

    async def forgetful(self, token, source, **options):
        device = await token_login(self, token, source, **options)
        return device if transports.get(token, source.transport) == source.transport else None

    patch.setattr(DeviceApi, "provision", noting)
    patch.setattr(DeviceApi, "token_login", forgetful)


def refuses_with_another_code(patch):
    patch.setattr(
        login, "_BAD_NAME", LoginRefused(ReturnCode.BAD_CLIENT_ID, ReasonCode.BAD_CLIENT_ID, ReasonCode.BAD_CLIENT_ID)
    )


def knows_provision_in_any_case(patch):
    connected(patch, username=lambda packet: "provision" if packet.username == "Provision" else packet.username)


def acknowledges_another_packet(patch):
    puback = MqttVersion.puback
    patch.setattr(MqttVersion, "puback", lambda self, packet_id, reason: puback(self, packet_id % 0xFFFF + 1, reason))


def grants_another_subscription(patch):
    suback = MqttVersion.suback
    patch.setattr(MqttVersion, "suback", lambda self, packet_id, codes: suback(self, packet_id + 1, codes))


def grants_every_subscription(patch):
    def grant(self, topic, qos):
        self._granted[topic] = min(qos, 1)
        return self._granted[topic]

    patch.setattr(MqttSession, "_grant", grant)


def answers_with_qos_1_only(patch):
    def publish(self, topic, payload):
        self._link.send(self._link.version.publish(topic, payload, qos=1, packet_id=1))

    patch.setattr(MqttSession, "_publish", publish)


def answers_subscribers_only(patch):
    publish = ProvisionSession._publish

    def picky(self, topic, payload):
        if topic in self._granted:
            publish(self, topic, payload)

    patch.setattr(ProvisionSession, "_publish", picky)


def never_answers_a_ping(patch):
    patch.setattr(codec, "PINGRESP", b"")


def takes_telemetry_of_provision_sessions(patch):
    publish = ProvisionSession._on_publish

    async def patient(self, packet):
        if packet.topic == topics.PROVISION_REQUEST:
            await publish(self, packet)
        else:
            self._acknowledge(packet)

    patch.setattr(ProvisionSession, "_on_publish", patient)


def stays_after_what_is_no_request(patch):
    patch.setattr(MqttSession, "_reject", always(None))


def keeps_the_older_session(patch):
    def online(self, connection, device, holder):
        self._online[device.id] = holder

    patch.setattr(Gateway, "device_online", online)


def answers_ok_instead_of_success(patch):
    rewrite(patch, b'"SUCCESS"', b'"OK"')


def writes_username_for_user_name(patch):
    rewrite(patch, b'"userName"', b'"username"')


def adds_a_field(patch):
    rewrite(patch, b'"status":"SUCCESS"', b'"status":"SUCCESS","deviceId":"7"')


def rewrite(patch, old, new):
    write_answer = device_json.write_answer
    patch.setattr(device_json, "write_answer", lambda outcome: write_answer(outcome).replace(old, new))


def echoes_the_secret(patch):
    read_request, write_answer, last = device_json.read_request, device_json.write_answer, []

    def reading(payload):
        last[:] = [read_request(payload)]
        return last[0]

    def quoting(outcome):
        return write_answer(outcome).replace(b"device!", b"device with %s!" % last[0].secret.encode())

    patch.setattr(device_json, "read_request", reading)
    patch.setattr(device_json, "write_answer", quoting)


def checks_no_password(patch):
    patch.setattr(kinds, "accepts", always(True))


def does_not_trim_names(patch):
    patch.setattr(provisioning, "trimmed", lambda name: name)


def keeps_the_header_of_certificates(patch):
    patch.setattr(kinds, "trim_certificate", lambda text: text)


def tells_failure_by_the_code_of_http(patch):
    answer = http_device._json

    def coded(body):
        found = answer(body)
        found.status_code = 400 if b"errorMsg" in body else 200
        return found

    patch.setattr(http_device, "_json", coded)


def reads_forms_as_json(patch):
    patch.setattr(tomcat, "body_as_read", lambda _content_type, body: body)


def tells_every_coap_client_created(patch):
    respond = CoapServer._respond

    def created(self, pipe, answer, *, is_last):
        if b"errorMsg" in answer.payload:
            answer.code = type(answer.code)(65)
        respond(self, pipe, answer, is_last=is_last)

    patch.setattr(CoapServer, "_respond", created)


def drops_the_token_of_coap(patch):
    encode = Message.encode

    def tokenless(self):
        if self.code.is_response():
            self.token = b""
        return encode(self)

    patch.setattr(Message, "encode", tokenless)


def decides_a_doubled_datagram_twice(patch):
    patch.setattr(_Messages, "_deduplicate_message", always(False))


def takes_its_time(patch):
    """So that CoAP's answers come by themselves."""
    provision = Registry.provision

    async def slow(self, request, origin):
        await asyncio.sleep(2)
        return await provision(self, request, origin)

    patch.setattr(Registry, "provision", slow)


def takes_any_key(patch):
    provision = Registry.provision

    async def helpful(self, request, origin):
        profile = await self.profile("default")
        return await provision(self, replace(request, key=profile.provision_key), origin)

    patch.setattr(Registry, "provision", helpful)


def ignores_the_case_of_names(patch):
    provision = Registry.provision

    async def lowering(self, request, origin):
        return await provision(self, replace(request, device_name=request.device_name.lower()), origin)

    patch.setattr(Registry, "provision", lowering)


def takes_names_of_any_length(patch):
    patch.setattr(names, "is_valid", always(True))


def refuses_fields_that_it_does_not_know(patch):
    read_request = device_json.read_request

    def strict(payload):
        if {"firmware", "padding"} & set(json_reader.parse(payload)):
            raise json_reader.BadField("unknown")
        return read_request(payload)

    patch.setattr(device_json, "read_request", strict)


def requires_the_material_of_a_type(patch):
    requested = kinds.CredentialsRequest.requested

    def strict(self):
        own = requested(self)
        if own is None and self.credentials_type is not CredentialsType.ACCESS_TOKEN:
            raise kinds.InvalidCredentials("nothing was given")
        return own

    patch.setattr(kinds.CredentialsRequest, "requested", strict)


def gives_a_token_where_it_should_refuse(patch):
    requested = kinds.CredentialsRequest.requested

    def forgiving(self):
        try:
            return requested(self)
        except kinds.InvalidCredentials:
            return None

    patch.setattr(kinds.CredentialsRequest, "requested", forgiving)


def answers_what_lacks_a_field(patch):
    provision = DeviceApi.provision

    async def forgiving(self, payload, source):
        try:
            return await provision(self, payload, source)
        except json_reader.PayloadError:
            return ProvisionOutcome(status=Status.NOT_FOUND)

    patch.setattr(DeviceApi, "provision", forgiving)


def knows_provision_as_client_id_only(patch):
    connected(patch, username=lambda packet: "x" if packet.username == "provision" else packet.username)


def knows_provision_as_user_name_only(patch):
    connected(patch, client_id=lambda packet: "x" if packet.client_id == "provision" else packet.client_id)


def connected(patch, **changes):
    handle = login.LoginHandler.handle

    def another(self, packet):
        if isinstance(packet, Connect):
            packet = replace(packet, **{name: change(packet) for name, change in changes.items()})
        return handle(self, packet)

    patch.setattr(login.LoginHandler, "handle", another)


def welcomes_whom_it_refuses(patch):
    patch.setattr(MqttVersion, "refuse", always(codec.connack(0, level=4)))


def stays_after_disconnect(patch):
    close = DeviceConnection.close

    def stay(self, reason=None):
        if reason is not ReasonCode.SUCCESS:
            close(self, reason)

    patch.setattr(DeviceConnection, "close", stay)


def waits_for_the_rest_of_what_is_malformed(patch):
    feed = codec.PacketDecoder.feed

    def patient(self, data):
        with suppress(codec.MalformedPacket):
            yield from feed(self, data)

    patch.setattr(codec.PacketDecoder, "feed", patient)


def closes_after_an_answer(patch):
    publish = ProvisionSession._publish

    def last(self, topic, payload):
        publish(self, topic, payload)
        self._link.close()

    patch.setattr(ProvisionSession, "_publish", last)


def closes_on_qos_0(patch):
    publish = DeviceSession._on_publish

    async def strict(self, packet):
        if packet.qos:
            await publish(self, packet)
        else:
            self._link.close()

    patch.setattr(DeviceSession, "_on_publish", strict)


def loses_attributes(patch):
    async def forget(self, device, payload, source):
        pass

    patch.setattr(DeviceApi, "attributes", forget)


def takes_telemetry_that_is_no_json(patch):
    telemetry = DeviceApi.telemetry

    async def careless(self, device, payload, source):
        with suppress(json_reader.PayloadError):
            await telemetry(self, device, payload, source)

    patch.setattr(DeviceApi, "telemetry", careless)


def has_room_for_little_telemetry(patch):
    telemetry = DeviceApi.telemetry

    async def small(self, device, payload, source):
        if len(payload) > 1024:
            raise json_reader.Malformed("too long")
        await telemetry(self, device, payload, source)

    patch.setattr(DeviceApi, "telemetry", small)


def finds_every_page(patch):
    error = error_responses.error
    patch.setattr(error_responses, "error", lambda status, *more: error(200 if status in (404, 405) else status, *more))


def takes_no_text_over_coap(patch):
    answer = CoapServer._answer

    async def picky(self, pipe, body, source):
        if pipe.request.opt.content_format == 0:
            return Message(code=codes.UNSUPPORTED_CONTENT_FORMAT)
        return await answer(self, pipe, body, source)

    patch.setattr(CoapServer, "_answer", picky)


def answers_every_get_over_coap(patch):
    async def get(self, pipe, path, source):
        return Message(code=codes.CONTENT)

    patch.setattr(CoapServer, "_get", get)


def ignores_coap_pings(patch):
    patch.setattr(_Messages, "_process_ping", always(None))


def refuses_logins_over_tls(patch):
    login = DeviceApi.login

    async def plain_only(self, shown, source):
        return None if source.transport == "mqtts" else await login(self, shown, source)

    patch.setattr(DeviceApi, "login", plain_only)


def knows_no_certificate(patch):
    async def blind(self, certificate, source):
        return None

    patch.setattr(DeviceApi, "certificate_login", blind)


def goes_by_the_token_beside_a_certificate(patch):
    connect = login.LoginHandler._connect

    async def by_token(self, packet):
        if packet.username:
            self._certificate = None
        await connect(self, packet)

    patch.setattr(login.LoginHandler, "_connect", by_token)


def notifies_without_a_checksum(patch):
    notified(
        patch, lambda change: replace(change, entries=[each for each in change.entries if "checksum" not in each[1]])
    )


def names_no_keys_that_do_not_apply(patch):
    notified(patch, lambda change: change if len(change.deleted) != 2 else None)


def deletes_the_title_alone(patch):
    patch.setattr(packages, "_KEYS", ("title",))


def notified(patch, change):
    """Change what devices are notified of, or with None leave it out."""
    notify = packages.notify
    patch.setattr(packages, "notify", lambda *given: [kept for each in notify(*given) if (kept := change(each))])


def sends_a_chunk_before_its_puback(patch):
    send_chunk = DeviceSession._send_chunk

    async def hasty(self, packet, request):
        await send_chunk(self, replace(packet, qos=0), request)
        self._acknowledge(packet)

    patch.setattr(DeviceSession, "_send_chunk", hasty)


def of_chunks(patch, change):
    """Have parts of packages come from this function, which gets the usual one."""
    part = ChunkRequests.part
    patch.setattr(ChunkRequests, "part", lambda *given: change(part, *given))


def forgets_the_size_of_chunks(patch):
    of_chunks(patch, lambda part, self, request, size, number: part(self, request, size or 0, number))


def repeats_the_last_chunk(patch):
    async def repeat(part, self, request, size, number):
        return await part(self, request, size, number) or await part(self, request, size, number - 1)

    of_chunks(patch, repeat)


def sends_nothing_without_a_size(patch):
    async def strict(part, self, request, size, number):
        if not size and not getattr(self._known.get(request), "size", 0):
            return b""
        return await part(self, request, size, number)

    of_chunks(patch, strict)


def goes_on_with_another_package(patch):
    async def newest(part, self, request, size, number):
        if known := self._known.get(request):
            known.content = await self._packages.of_device(self._device_id, Kind.FIRMWARE)
        return await part(self, request, size, number)

    of_chunks(patch, newest)


def reports_errors_of_packages_elsewhere(patch):
    patch.setattr(topics, "PACKAGE_ERROR", "v2/error")


def sends_chunks_of_any_size(patch):
    patch.setattr(chunk_requests, "CHUNK_LIMIT", 1 << 20)


def has_an_empty_package_over_http(patch):
    async def empty(self, request, kind):
        return Response()

    patch.setattr(http_device._DeviceRoutes, "_package", empty)


def has_an_empty_package_over_coap(patch):
    async def empty(self, path, query, source):
        return Message(code=codes.CONTENT)

    patch.setattr(CoapServer, "_package", empty)


def accepts_any_checksum(patch):
    store = Packages._store
    patch.setattr(Packages, "_store", lambda self, data, algorithm, _expected: store(self, data, algorithm, None))


def takes_control_characters(patch):
    patch.setattr(kinds.DeviceCredentials, "check", always(None))


def ends_sessions_at_every_save(patch):
    def end(caller, device_id, *, replaced):
        caller.api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED)

    patch.setattr(saving, "_end_session", end)


def reads_cells_as_text(patch):
    patch.setattr(import_cells, "_json", lambda cell: cell)


def makes_no_name_unique(patch):
    def resolve(self, name, taken, refusal):
        if name in taken:
            raise Refused(refusal)
        return name

    patch.setattr(names.Naming, "resolve", resolve)


def lacks_newer_routes(patch):
    patch.setattr(params, "release_of", always(releases.release("4.3.1.3")))


def lacks_api_keys(patch):
    patch.setattr(params, "release_of", always(replace(releases.NEWEST, has_api_keys=False)))
