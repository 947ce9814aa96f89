import argparse
import json
import re
import sqlite3
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ROUTES = []


class Refused(Exception):
    pass


def route(method, pattern):
    def keep(function):
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return keep


class Handler(BaseHTTPRequestHandler):
    db = None

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def json(self):
        try:
            value = json.loads(self.body())
        except ValueError:
            raise Refused(400) from None
        if not isinstance(value, dict):
            raise Refused(400)
        return value

    def answer(self, status, value=None, headers=()):
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        for method, pattern, function in ROUTES:
            found = pattern.fullmatch(url.path)
            if found and method == self.command:
                try:
                    with self.db:
                        reply = function(self, *map(unquote, found.groups()))
                    return self.answer(*reply)
                except Refused as error:
                    return self.answer(error.args[0])
        return self.answer(404)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

    def one(self, sql, *values):
        row = self.db.execute(sql, values).fetchone()
        if row is None:
            raise Refused(404)
        return dict(row)

    def all(self, sql, *values):
        return [dict(row) for row in self.db.execute(sql, values)]


SCHEMA = "CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, value BLOB)"


@route("PUT", "/keys/([^/]+)")
def put(h, name):
    if int(h.headers.get("Content-Length") or 0) > 1_000_000:
        raise Refused(413)
    known = h.all("SELECT name FROM entries WHERE name = ?", name)
    h.db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (name, h.body()))
    return (204 if known else 201,)


@route("GET", "/keys/([^/]+)")
def get(h, name):
    return 200, bytes(h.one("SELECT value FROM entries WHERE name = ?", name)["value"])


@route("DELETE", "/keys/([^/]+)")
def remove(h, name):
    h.one("SELECT name FROM entries WHERE name = ?", name)
    h.db.execute("DELETE FROM entries WHERE name = ?", (name,))
    return (204,)


@route("GET", "/keys")
def every(h):
    names = [row["name"] for row in h.all("SELECT name FROM entries ORDER BY name")]
    return 200, [name for name in names if name.startswith(h.query.get("prefix", ""))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--db", required=True)
    args = parser.parse_args()
    Handler.db = sqlite3.connect(args.db)
    Handler.db.row_factory = sqlite3.Row
    Handler.db.executescript(SCHEMA)
    HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


main()
