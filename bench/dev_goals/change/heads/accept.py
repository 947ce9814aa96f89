import pathlib
import subprocess
import sys
import tempfile

from pages.errors import HeadError
from pages.head import split_head
from pages.texts import read_text

assert split_head("title: Hello") == ({"title": "Hello"}, "")
assert split_head("title: Hello\ndraft: no") == ({"title": "Hello", "draft": False}, "")
assert split_head("title: Hello\n") == ({"title": "Hello"}, "")
assert split_head("title: a:b\n\nx\n") == ({"title": "a:b"}, "x\n")
assert split_head("") == ({}, "") and split_head("text") == ({}, "text")
assert read_text("a.txt", "title: Hello").title == "Hello"
try:
    split_head("title: Hello\nno colon here\n\ntext")
except HeadError as error:
    assert "line 2" in str(error), error
else:
    raise AssertionError("a line without a colon was not refused")
with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder) / "a.txt"
    place.write_text("title: x\nno colon\n\ny\n")
    done = subprocess.run([sys.executable, "-m", "pages", "show", str(place)], capture_output=True, text=True)
    assert done.returncode == 2 and "line 2" in done.stderr and "Traceback" not in done.stderr, done.stderr
