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


SCHEMA = "CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)"


def todo(h, key):
    row = h.one("SELECT id, title, done FROM todos WHERE id = ?", key)
    return row | {"done": bool(row["done"])}


@route("GET", "/todos")
def every(h):
    rows = [row | {"done": bool(row["done"])} for row in h.all("SELECT id, title, done FROM todos ORDER BY id")]
    wanted = h.query.get("done")
    return 200, [row for row in rows if wanted is None or row["done"] == (wanted == "true")]


@route("POST", "/todos")
def make(h):
    title = h.json().get("title")
    if not isinstance(title, str) or not title:
        raise Refused(400)
    return 201, todo(h, h.db.execute("INSERT INTO todos (title) VALUES (?)", (title,)).lastrowid)


@route("PATCH", "/todos/([0-9]+)")
def change(h, key):
    new = todo(h, key) | h.json()
    h.db.execute("UPDATE todos SET title = ?, done = ? WHERE id = ?", (new["title"], bool(new["done"]), key))
    return 200, todo(h, key)


@route("DELETE", "/todos/([0-9]+)")
def remove(h, key):
    todo(h, key)
    h.db.execute("DELETE FROM todos WHERE id = ?", (key,))
    return (204,)


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
