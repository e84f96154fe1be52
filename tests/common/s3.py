"""A server that speaks S3's protocol on this machine, and goes wrong when it is told to.

As a program: serves moto's S3 and prints its port. As a module: `S3`, the other end, which starts
the program with the Python of `JAXSCALE_TEST_S3_PYTHON`, where that is set: moto may have an
environment of its own.

A fault is a kind and the requests that it concerns (`matching`: a regular expression of "METHOD
PATH"), of which the first `skip` are answered, and the next `times` go wrong. Of several that a
request meets the first counts:

- "busy": answered with 503 SlowDown;
- "lost": carried out, and the connection cut before the answer;
- "cut": the connection is cut before anything is done, or in the middle of a body that is read;
- "slow": answered after `seconds`;
- "stale": a list says what the last one of this prefix before the fault said;
- "refused": answered with 403 AccessDenied.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request
from pathlib import Path

CONTROL = "/-/faults"
PYTHON = os.environ.get("JAXSCALE_TEST_S3_PYTHON")


class S3:
    """A server in a process of its own, with a bucket of the name `bucket`."""

    def __enter__(self):
        command, pipe = [PYTHON or sys.executable, str(Path(__file__))], subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.make_bucket("bucket")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    @property
    def environment(self):
        """What leads obstore here."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        }  # fmt: skip

    def make_bucket(self, name):
        self._request("PUT", f"/{name}")

    def go_wrong(self, kind, matching="", skip=0, times=1, seconds=0.0):
        """Have requests go wrong from now on, besides those that do."""
        fault = {"kind": kind, "matching": matching, "skip": skip, "times": times}
        self._request("PUT", CONTROL, json.dumps({**fault, "seconds": seconds}).encode())

    def recover(self):
        """Go right again; how many requests went wrong, of each fault that it was told of."""
        return json.loads(self._request("DELETE", CONTROL))["failed"]

    def requests(self):
        """Requests so far, by method."""
        return json.loads(self._request("GET", CONTROL))

    def _request(self, method, path, data=None):
        request = urllib.request.Request(self.url + path, data, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


class Drained:
    """Where Werkzeug waits, ten milliseconds per request, for what was not read: all of it was."""

    def register(self, *_):
        pass

    def select(self, timeout):
        return ()

    def close(self):
        pass


class Faulty:
    """A WSGI application that hands requests to another, unless they go wrong."""

    def __init__(self, application):
        self.application, self.lock = application, threading.Lock()
        self.faults, self.counts, self.lists = [], {}, {}

    def __call__(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == CONTROL:
            return self.control(method, environ, start_response)
        fault, query = self.next_fault(f"{method} {path}"), environ.get("QUERY_STRING", "")
        kind = fault and fault["kind"]
        if kind == "busy":
            return _refuse(environ, start_response, "503 Slow Down", "SlowDown")
        if kind == "refused":
            return _refuse(environ, start_response, "403 Forbidden", "AccessDenied")
        if kind == "cut" and method != "GET":
            return _cut(environ)
        if kind == "slow":
            time.sleep(fault["seconds"])
        listing = method == "GET" and "list-type" in query
        if kind == "stale" and listing and query in self.lists:
            start_response("200 OK", [("Content-Type", "application/xml")])
            return [self.lists[query]]
        if kind not in ("lost", "cut") and not listing:
            return self.application(environ, start_response)
        answer = []
        body = b"".join(self.application(environ, lambda *given: answer.append(given)))
        if kind == "lost":
            return _cut(environ)
        start_response(*answer[0][:2])
        if kind == "cut":
            return _half(environ, body)
        if fault is None:
            self.lists[query] = body
        return [body]

    def control(self, method, environ, start_response):
        with self.lock:
            if method == "PUT":
                self.faults.append(json.loads(_body(environ)) | {"failed": 0})
            failed = [fault["failed"] for fault in self.faults]
            answer = self.counts if method == "GET" else {"failed": failed}
            if method == "DELETE":
                self.faults = []
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def next_fault(self, request):
        """The fault that a request meets, or None."""
        with self.lock:
            method = request.partition(" ")[0]
            self.counts[method] = self.counts.get(method, 0) + 1
            met = None
            for fault in self.faults:
                if re.search(fault["matching"], request):
                    fault["skip"] -= 1
                    if met is None and fault["skip"] < 0 and fault["times"] > 0:
                        met = fault
            if met is not None:
                met["times"] -= 1
                met["failed"] += 1
            return met


def _body(environ):
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def _refuse(environ, start_response, status, code):
    _body(environ)  # else the connection may be reset before the answer is read
    start_response(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()]


def _cut(environ):
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []


def _half(environ, body):
    yield body[: len(body) // 2]
    _cut(environ)


def _serve():
    import logging

    import werkzeug.serving
    from moto.server import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except OSError:  # of a connection that was cut
                self.close_connection = True

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    werkzeug.serving.selectors = types.SimpleNamespace(DefaultSelector=Drained)
    # of S3 alone: that of all services looks up the host of each request
    application = Faulty(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    parent = os.getppid()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    _serve()
