"""A receiver of webhooks: a real web server in a thread, whose answers a test chooses."""

import base64
import hashlib
import hmac
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.servers import PATIENCE_S


class Receiver:
    """A web server: `with Receiver() as receiver:`. Answers 204, unless `answers` has other statuses for its next ones.

    With a context it speaks TLS.

    An answer may be bytes, too, which are sent as they are; a function of the request returns one of both, or None.
    """

    def __init__(self, tls=None):
        self.requests = queue.Queue()
        self.answers = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):  # the sender died
                    return
                request = Request(self.path, self.headers, body)
                receiver.requests.put(request)
                try:
                    answer = receiver.answers.get_nowait()
                except queue.Empty:
                    answer = receiver.usual
                answer = answer(request) if callable(answer) else answer
                if answer is None:  # the sender has left meanwhile
                    self.close_connection = True
                elif isinstance(answer, bytes):
                    self.wfile.write(answer)
                    self.close_connection = True
                else:
                    self.send_response(answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 100

            def handle_error(self, *_):  # senders leave as they like
                pass

        self.usual = 204
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:  # in the thread of each connection, when it reads
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self.url = (
            f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/firstboot?token=a-secret-of-the-receiver"
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def next(self):
        """Return the next request, and wait for it if it has not come."""
        return self.requests.get(timeout=PATIENCE_S)


class Request:
    def __init__(self, path, headers, body):
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def is_signed_with(self, secret):
        """Return whether its signature is right: computed from the text of Standard Webhooks, with nothing of ours."""
        key = base64.b64decode(secret[len("whsec_") :])
        to_sign = b".".join(
            [self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body]
        )
        right = base64.b64encode(hmac.new(key, to_sign, hashlib.sha256).digest())
        return b"v1," + right == self.headers["webhook-signature"].encode()
