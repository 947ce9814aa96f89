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


SCHEMA = "CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price INTEGER, count INTEGER)"


def whole(value):
    if type(value) is not int or value < 0:
        raise Refused(400)
    return value


def product(h, key):
    return h.one("SELECT id, name, price, count FROM products WHERE id = ?", key)


@route("POST", "/products")
def make(h):
    given = h.json()
    name, price, count = given.get("name"), whole(given.get("price")), whole(given.get("count"))
    if not isinstance(name, str) or not name:
        raise Refused(400)
    if h.all("SELECT id FROM products WHERE name = ?", name):
        raise Refused(409)
    made = h.db.execute("INSERT INTO products (name, price, count) VALUES (?, ?, ?)", (name, price, count))
    return 201, product(h, made.lastrowid)


@route("GET", "/products")
def every(h):
    return 200, h.all("SELECT id, name, price, count FROM products ORDER BY name")


@route("GET", "/products/([0-9]+)")
def show(h, key):
    return 200, product(h, key)


@route("POST", "/products/([0-9]+)/(sell|restock)")
def change(h, key, what):
    before, count = product(h, key)["count"], whole(h.json().get("count"))
    after = before - count if what == "sell" else before + count
    if after < 0:
        raise Refused(409)
    h.db.execute("UPDATE products SET count = ? WHERE id = ?", (after, key))
    return 200, product(h, key)


@route("GET", "/value")
def value(h):
    return 200, h.one("SELECT coalesce(sum(price * count), 0) AS value FROM products")


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
