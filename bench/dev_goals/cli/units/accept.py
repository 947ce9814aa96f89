import subprocess
import sys

from program import Program

run = Program("units.py")
for words, said in {"1 in cm": "2.54", "1 mi km": "1.6093", "100 c f": "212", "32 f c": "0", "0 c k": "273.15", "2 lb oz": "32",
                    "1500 m km": "1.5", "3 ft in": "36", "1 kg lb": "2.2046", "10 mm m": "0.01", "100 cm m": "1"}.items():
    assert run(*words.split()).strip() == said, (words, run(*words.split()))
assert sorted(run("--list").split()) == sorted("mm cm m km in ft mi g kg oz lb c f k".split())
for words in ("1 m kg", "1 parsec m", "1 m parsec", "1 c m"):
    done = subprocess.run([sys.executable, str(run.script), *words.split()], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip() and "Traceback" not in done.stderr, words
run("much", "m", "km", fails=True)
