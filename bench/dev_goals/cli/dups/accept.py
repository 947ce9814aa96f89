import subprocess
import sys

from program import Program

run = Program("dups.py")
for name, text in {"d/b.txt": "same", "d/a/c.txt": "same", "d/a/x": "other", "d/y": "longer text", "d/z/z/z": "longer text",
                   "d/one": "1", "d/two": "1", "d/alone": "alone"}.items():
    run.write(name, text)
assert run("d").strip().splitlines() == ["a/c.txt b.txt", "one two", "y z/z/z"], run("d")
assert run("d", "--min-size", "4").strip().splitlines() == ["a/c.txt b.txt", "y z/z/z"]
assert run("--min-size", "5", "d").strip() == "y z/z/z"
assert run("d/a").strip() == ""
run("nothing", fails=True)
done = subprocess.run([sys.executable, str(run.script), "d/one"], cwd=run.folder, capture_output=True, text=True)
assert done.returncode == 2 and done.stderr.strip()
