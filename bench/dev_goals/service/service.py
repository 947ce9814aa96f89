"""What the hidden checks of services share: start one on loopback, talk to it, start it again on the same data."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent


class Service:
    """A service beside this file, with a database file in a fresh folder."""

    def __init__(self, file):
        self._script = str(_HERE / file)
        self.database = Path(tempfile.mkdtemp()) / "data.db"
        self._process = None
        self.start()

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        command = [sys.executable, self._script, "--port", str(self._port), "--db", str(self.database)]
        with (self.database.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.database.parent)
        until = time.monotonic() + 10
        while True:
            assert self._process.poll() is None, "it ended: " + (self.database.parent / "log").read_text()[-400:]
            assert time.monotonic() < until, "it does not listen on its port within 10 s"
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    def again(self):
        """End it and start it anew, on the same database."""
        self._process.kill()
        self._process.wait()
        self.start()

    def raw(self, method, path, body=None, headers=None):
        """Return status, headers and the body as bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def __call__(self, method, path, value=None, status=200):
        """Send JSON, want this status, and return the JSON of the answer (None if it is empty)."""
        sent = None if value is None else json.dumps(value)
        code, _, body = self.raw(method, path, sent, {"Content-Type": "application/json"} if sent else {})
        assert code == status, (method, path, value, code, body[:200])
        return json.loads(body) if body.strip() and status < 400 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
