"""The parts of a service that are the same in each: storage with validation, HTTP, and the command line."""

TOP = """import argparse
import json
import re
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MAX_BODY = 1_000_000
"""

STORAGE = '''class ApiError(Exception):
    """What a client is told: a status code and a sentence."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def connect(path):
    """Open the database file."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def checked(rules, body, partial=False):
    """Return the known fields of a body. Raises ApiError(400) if one is missing or wrong."""
    values = {}
    for name, rule in rules.items():
        if name in body and not (body[name] is None and not rule["required"]):
            values[name] = one_checked(name, rule, body[name])
        elif partial:
            continue
        elif rule["required"]:
            raise ApiError(400, f"{name} is missing")
        else:
            values[name] = rule.get("default")
    if partial and not values:
        raise ApiError(400, f"give one of: {', '.join(rules)}")
    return values


def one_checked(name, rule, value):
    """Return a value of the type that the rule wants."""
    if rule["type"] is float and type(value) is int:
        value = float(value)
    if type(value) is not rule["type"]:
        raise ApiError(400, f"{name} must be {rule['type'].__name__}")
    if rule.get("choices") and value not in rule["choices"]:
        raise ApiError(400, f"{name} must be one of: {', '.join(rule['choices'])}")
    if rule.get("not_blank") and not value.strip():
        raise ApiError(400, f"{name} must not be empty")
    if "minimum" in rule and value < rule["minimum"]:
        raise ApiError(400, f"{name} must be at least {rule['minimum']}")
    if "above" in rule and value <= rule["above"]:
        raise ApiError(400, f"{name} must be greater than {rule['above']}")
    return value


def as_dict(table, row):
    """Turn a row into what is sent as JSON."""
    found = dict(row)
    for name, rule in FIELDS[table].items():
        if rule["type"] is bool and found.get(name) is not None:
            found[name] = bool(found[name])
        elif rule["type"] is list:
            found[name] = json.loads(found[name] or "[]")
    return found


def as_row(values):
    """Turn values into what SQLite stores: a list becomes JSON."""
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}


def insert(db, table, values):
    """Store a row, and return it as a dict with its id."""
    values = as_row(values)
    names = ", ".join(values)
    places = ", ".join("?" for _ in values)
    try:
        done = db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))
    except sqlite3.IntegrityError as error:
        raise ApiError(409, f"there is such a row in {table} already") from error
    return fetch(db, table, done.lastrowid)


def fetch(db, table, key, column="id"):
    """Return one row as a dict. Raises ApiError(404) if there is none."""
    row = db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (key,)).fetchone()
    if row is None:
        raise ApiError(404, f"no such row in {table}: {key}")
    return as_dict(table, row)


def fetch_all(db, table, query=None, order="id"):
    """Return rows as a list of dicts; the query may filter by fields, search with `q`, and bound with limit, offset."""
    query = query or {}
    where, values = [], []
    for name, rule in FIELDS[table].items():
        if rule["type"] is list:
            asked = query.get(name, query.get(name.removesuffix("s")))
            where += [] if asked is None else [f"EXISTS (SELECT 1 FROM json_each({name}) WHERE value = ?)"]
            values += [] if asked is None else [asked]
        elif name in query:
            where.append(f"{name} = ?")
            values.append(from_query(name, rule, query[name]))
    word = query.get("q", query.get("search"))
    texts = [name for name, rule in FIELDS[table].items() if rule["type"] is str]
    if word and texts:
        where.append("(" + " OR ".join(f"instr(lower({name}), lower(?))" for name in texts) + ")")
        values += [word] * len(texts)
    limit = from_query("limit", {"type": int}, query.get("limit", "-1"))
    offset = from_query("offset", {"type": int}, query.get("offset", "0"))
    chosen = f"WHERE {' AND '.join(where)}" if where else ""
    sql = f"SELECT * FROM {table} {chosen} ORDER BY {order} LIMIT ? OFFSET ?"
    return [as_dict(table, row) for row in db.execute(sql, (*values, limit, offset))]


def change(db, table, row_id, values):
    """Change some columns of a row, and return it. Raises ApiError(404) if there is none."""
    fetch(db, table, row_id)
    values = as_row(values)
    places = ", ".join(f"{name} = ?" for name in values)
    try:
        db.execute(f"UPDATE {table} SET {places} WHERE id = ?", (*values.values(), row_id))
    except sqlite3.IntegrityError as error:
        raise ApiError(409, f"there is such a row in {table} already") from error
    return fetch(db, table, row_id)


def remove(db, table, row_id):
    """Delete a row. Raises ApiError(404) if there is none."""
    fetch(db, table, row_id)
    db.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))


def from_query(name, rule, text):
    """Read a value of the query part of a URL."""
    if rule["type"] is bool:
        return 1 if text.lower() in ("1", "true", "yes") else 0
    try:
        return rule["type"](text)
    except ValueError:
        raise ApiError(400, f"{name} must be {rule['type'].__name__}") from None
'''

HTTP = '''class Handler(BaseHTTPRequestHandler):
    """Answers requests with JSON. A class of its own for each database: see `make_handler`."""

    protocol_version = "HTTP/1.1"
    error_content_type = "application/json"
    error_message_format = '{"error": "%(message)s"}'
    timeout = 30
    database = ""

    def answer(self):
        try:
            body = self.read_body()
            status, value = self.respond(body)
        except ApiError as error:
            status, value = error.status, {"error": str(error)}
        except Exception as error:
            self.log_error("%r", error)
            status, value = 500, {"error": f"{type(error).__name__}: {error}"}
        self.send(status, value)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def respond(self, body):
        """Find the route, call its function, and return a status and a value."""
        url = urlsplit(self.path)
        path = url.path.rstrip("/") or "/"
        allowed = []
        for method, pattern, status, function in ROUTES:
            match = re.fullmatch(re.sub(r"\\\\{\\w+\\\\}", "([^/]+)", re.escape(pattern)), path)
            if match is None:
                continue
            allowed.append(method)
            if method == ("GET" if self.command == "HEAD" else self.command):
                names = re.findall(r"\\{(\\w+)\\}", pattern)
                parts = [from_path(name, unquote(text)) for name, text in zip(names, match.groups())]
                value = self.call(method, function, parts, body, dict(parse_qsl(url.query, True)))
                return value if isinstance(value, tuple) else (status, value)
        if not allowed:
            raise ApiError(404, f"there is nothing at {path}")
        raise ApiError(405, f"{self.command} is not for {path}; it takes {', '.join(allowed)}")

    def call(self, method, function, parts, body, query):
        """Call a function in a transaction: what it did stands only if it comes to its end."""
        last = {"GET": [query], "DELETE": []}.get(method, [body])
        if last == [body] and not isinstance(body, dict):
            raise ApiError(400, "the body must be a JSON object")
        with closing(connect(self.database)) as db:
            db.execute("BEGIN" if method == "GET" else "BEGIN IMMEDIATE")
            try:
                value = function(db, *parts, *last)
            except BaseException as error:
                db.execute("ROLLBACK")
                if isinstance(error, (ValueError, OverflowError)):
                    raise ApiError(400, str(error)) from error
                raise
            db.execute("COMMIT")
            return value

    def read_body(self):
        """Return the JSON of the request; an empty object if there is no body."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise ApiError(413 if length.isdigit() and int(length) > MAX_BODY else 411, "send a Content-Length")
        data = self.rfile.read(int(length))
        try:
            return json.loads(data, parse_constant=refuse) if data.strip() else {}
        except (ValueError, RecursionError):
            raise ApiError(400, "the body is not JSON") from None

    def send(self, status, value):
        is_redirect = status in (301, 302, 303, 307, 308)
        data = b"" if status == 204 or is_redirect else json.dumps(value).encode()
        self.send_response(status)
        if is_redirect:
            self.send_header("Location", quote(str(value), safe="/:?#[]@!$&'()*+,;=%"))
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format, *args):
        """Say nothing about each request."""


def refuse(word):
    raise ValueError(f"{word} is not JSON")


def from_path(name, text):
    """Read a part of the path; ids are whole numbers."""
    if name != "id" and not name.endswith("_id"):
        return text
    if not text.isdecimal() or len(text) > 18:
        raise ApiError(404, f"there is no {name} {text!r}")
    return int(text)


def make_handler(database):
    """Return a handler for one database file, whose tables are there."""
    with closing(connect(database)) as db:
        db.executescript(SCHEMA)
    return type("ServiceHandler", (Handler,), {"database": database})


def make_server(database, host="127.0.0.1", port=0):
    """Return a server that listens; port 0 takes a free one. Call its serve_forever()."""
    server = ThreadingHTTPServer((host, port), make_handler(database))
    server.daemon_threads = True
    return server
'''

MAIN = '''def main(argv=None):
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description={about!r})
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default={port}, help="0 takes a free one")
    parser.add_argument({flags}, dest="database", default={database!r}, help="the SQLite file")
    args = parser.parse_args(argv)
    try:
        server = make_server(args.database, args.host, args.port)
    except (OSError, sqlite3.Error) as error:
        parser.exit(1, f"{{error}}\\n")
    print(f"Listening on http://{{args.host}}:{{server.server_port}}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
'''
