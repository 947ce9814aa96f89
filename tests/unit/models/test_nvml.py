"""What is read from NVIDIA's library, through its real binding, with a library of ours in the place of NVIDIA's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.models.hosts import nvml

pytest.importorskip("pynvml")
SRC = Path(nvml.__file__).parents[2]

LIBRARY = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlInitWithFlags(unsigned flags) { return FAILS; }
int nvmlInit_v2(void) { return FAILS; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "Toy 4060", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
  memory->total = 8ull << 30; memory->used = (unsigned long long)(long)device << 30; memory->free = 0; return 0;
}
"""


def seen_with(folder: Path, fails: int) -> str:
    """What `cards` says in a process that finds our library first."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = folder / "nvml.c"
    source.write_text(LIBRARY)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, f"-DFAILS={fails}", "-shared", "-fPIC", "-o", library, source], check=True)
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(SRC)}
    code = "from treadle.models.hosts.nvml import cards; print(cards())"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_each_card_is_told_with_its_memory(tmp_path):
    told = seen_with(tmp_path, fails=0)
    for index, used in ((0, 1 << 30), (1, 2 << 30)):
        assert f"Card(index={index}, name='Toy 4060', total_bytes={8 << 30}, used_bytes={used})" in told


def test_driver_that_does_not_work_is_no_card_and_says_why(tmp_path):
    told = seen_with(tmp_path, fails=18)
    assert "cards=()" in told
    assert "mismatch" in told


def test_machine_without_a_driver_has_no_card():
    found = nvml.cards()
    assert found.cards or "driver" in found.why_not
