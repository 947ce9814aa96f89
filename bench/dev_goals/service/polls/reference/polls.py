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


SCHEMA = """
CREATE TABLE IF NOT EXISTS polls (id INTEGER PRIMARY KEY, question TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS options (poll INTEGER, option TEXT, votes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (poll, option));
"""


@route("POST", "/polls")
def make(h):
    given = h.json()
    options = given.get("options")
    if not given.get("question") or not isinstance(options, list) or len(set(map(str, options))) < max(2, len(options)):
        raise Refused(400)
    key = h.db.execute("INSERT INTO polls (question) VALUES (?)", (given["question"],)).lastrowid
    h.db.executemany("INSERT INTO options (poll, option) VALUES (?, ?)", [(key, option) for option in options])
    return 201, {"id": key}


@route("POST", "/polls/([0-9]+)/votes")
def vote(h, key):
    h.one("SELECT id FROM polls WHERE id = ?", key)
    option = h.json().get("option")
    done = h.db.execute("UPDATE options SET votes = votes + 1 WHERE poll = ? AND option = ?", (key, option))
    if not done.rowcount:
        raise Refused(400)
    return (204,)


@route("GET", "/polls/([0-9]+)")
def show(h, key):
    poll = h.one("SELECT id, question FROM polls WHERE id = ?", key)
    votes = h.all("SELECT option, votes FROM options WHERE poll = ?", key)
    return 200, {**poll, "votes": {row["option"]: row["votes"] for row in votes}}


@route("GET", "/polls")
def every(h):
    return 200, h.all("SELECT id, question FROM polls ORDER BY id")


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
