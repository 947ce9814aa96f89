import argparse
import json
import sqlite3
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    db = None

    def answer(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def find(self):
        parts = self.path.strip("/").split("/")
        if len(parts) != 2 or parts[0] != "notes" or not parts[1].isdigit():
            return None
        row = self.db.execute("SELECT id, text FROM notes WHERE id = ?", (parts[1],)).fetchone()
        return {"id": row[0], "text": row[1]} if row else None

    def do_GET(self):
        if self.path == "/notes":
            rows = self.db.execute("SELECT id, text FROM notes ORDER BY id")
            return self.answer(200, [{"id": row[0], "text": row[1]} for row in rows])
        note = self.find()
        return self.answer(200, note) if note else self.answer(404)

    def do_POST(self):
        if self.path != "/notes":
            return self.answer(404)
        try:
            text = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))["text"]
        except (ValueError, KeyError, TypeError):
            text = ""
        if not isinstance(text, str) or not text:
            return self.answer(400, {"error": "text is missing"})
        with self.db:
            key = self.db.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid
        return self.answer(201, {"id": key, "text": text})

    def do_DELETE(self):
        note = self.find()
        if not note:
            return self.answer(404)
        with self.db:
            self.db.execute("DELETE FROM notes WHERE id = ?", (note["id"],))
        return self.answer(204)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--db", default="notes.db")
    args = parser.parse_args()
    Handler.db = sqlite3.connect(args.db)
    Handler.db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL)")
    HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


main()
