// One boot of the firmware in MicroPython's WebAssembly build, against a server in this process.
// Standard input: {micropython: path of micropython.mjs, files: {path: base64}, code: pieces to run, now: seconds}.
// Standard output: {output: printed lines, files: {path: base64} of the vault}.

const request = JSON.parse(await new Response(process.stdin).text());
const { loadMicroPython } = await import(request.micropython);
const output = [];
const micropython = await loadMicroPython({
  heapsize: 4 << 20, linebuffer: true, stdout: (line) => output.push(line), stderr: (line) => output.push(line),
});
for (const [path, content] of Object.entries(request.files)) {
  micropython.FS.mkdirTree(path.slice(0, path.lastIndexOf("/")) || "/");
  micropython.FS.writeFile(path, Buffer.from(content, "base64"));
}

// What a device gets to read: bytes for the connection that it wrote to.
const provisioned = (body) => {
  const asked = JSON.parse(body);
  const type = asked.credentialsType ?? "ACCESS_TOKEN";
  const basic = { clientId: asked.clientId, userName: asked.username, password: asked.password };
  const value = { ACCESS_TOKEN: asked.token ?? "0123456789abcdef", MQTT_BASIC: basic, X509_CERTIFICATE: asked.hash };
  return JSON.stringify({ status: "SUCCESS", credentialsType: type, credentialsValue: value[type] });
};

const mqttString = (text) => Buffer.concat([Buffer.from([text.length >> 8, text.length & 255]), Buffer.from(text)]);
const mqttPacket = (head, ...parts) => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.from([head, ...length]), body]);
};
const mqttAnswers = {
  1: () => [mqttPacket(0x20, Buffer.from([0, 0]))],
  8: (body) => [mqttPacket(0x90, body.subarray(0, 2), Buffer.from([0]))],
  12: () => [mqttPacket(0xd0)],
  14: () => [],
  3: (body, flags) => {
    const end = 2 + body.readUInt16BE(0);
    const topic = body.toString("utf8", 2, end);
    const text = body.toString("utf8", end + (flags & 6 ? 2 : 0));
    const answers = flags & 6 ? [mqttPacket(0x40, body.subarray(end, end + 2))] : [];
    if (topic === "/provision/request")
      answers.push(mqttPacket(0x30, mqttString("/provision/response"), Buffer.from(provisioned(text))));
    if (topic === "v1/devices/me/attributes/request/1")
      answers.push(mqttPacket(0x30, mqttString("v1/devices/me/attributes/response/1"), Buffer.from("{}")));
    return answers;
  },
};
const mqtt = (connection) => {
  for (;;) {
    const data = connection.input;
    let length = 0, at = 1;
    do {
      if (at >= data.length) return;
      length |= (data[at] & 127) << (7 * (at - 1));
    } while (data[at++] & 128);
    if (data.length < at + length) return;
    connection.input = data.subarray(at + length);
    connection.send(...mqttAnswers[data[0] >> 4](data.subarray(at, at + length), data[0] & 15));
  }
};
const http = (connection) => {
  const [head, body] = connection.input.toString().split("\r\n\r\n");
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  if (body === undefined || body.length < length) return;
  const answer = head.startsWith("HEAD") ? "" : provisioned(body);
  const date = new Date(request.now * 1000).toUTCString();
  connection.send(Buffer.from(`HTTP/1.1 200 OK\r\nDate: ${date}\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`));
};
const coap = (connection) => {
  const data = connection.input;
  connection.input = Buffer.alloc(0);
  const body = data.subarray(data.indexOf(255, 4 + (data[0] & 15)) + 1).toString();
  const token = data.subarray(4, 4 + (data[0] & 15));
  const head = Buffer.from([0x60 | token.length, 0x44, data[2], data[3]]);
  connection.send(Buffer.concat([head, token, Buffer.from([255]), Buffer.from(provisioned(body))]));
};
const ntp = (connection) => {
  const answer = Buffer.alloc(48);
  answer[0] = 0x24;
  answer[1] = 1;
  connection.input.copy(answer, 24, 40, 48);
  answer.writeUInt32BE((request.now + 2208988800) % 2 ** 32, 40);
  connection.input = Buffer.alloc(0);
  connection.send(answer);
};
const services = { 123: ntp, 1883: mqtt, 5683: coap, 8080: http, 8443: http, 8883: mqtt };

const connections = [];
micropython.registerJsModule("_network", {
  open: () => connections.push({
    input: Buffer.alloc(0), waiting: [],
    send(...pieces) { this.waiting.push(...pieces); },
  }) - 1,
  connect: (number, port) => { connections[number].serve = services[port]; },
  write: (number, hex) => {
    const connection = connections[number];
    connection.input = Buffer.concat([connection.input, Buffer.from(hex, "hex")]);
    connection.serve(connection);
  },
  available: (number) => connections[number].waiting.length,
  read: (number, size) => {
    const connection = connections[number];
    const piece = connection.waiting.shift() ?? Buffer.alloc(0);
    if (piece.length > size) connection.waiting.unshift(piece.subarray(size));
    return piece.subarray(0, size).toString("hex");
  },
});

for (const piece of request.code) micropython.runPython(piece);
const files = {};
for (const name of ["/vault.0", "/vault.1"])
  if (micropython.FS.analyzePath(name).exists)
    files[name] = Buffer.from(micropython.FS.readFile(name)).toString("base64");
process.stdout.write(JSON.stringify({ output, files }));
process.exit(0);
