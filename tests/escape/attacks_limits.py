"""Bombs: whatever a call takes too much of, it is stopped or bounded, and the host goes on."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from tests.escape.attack import HELD, LIMITS, Family, G
from tests.escape.inside import Held, call, fork, need, sh, write

from treadle.ports.sandbox import MIB

attack = Family("limits")
SHORT = replace(LIMITS, wall_seconds=1.5)
VARIES = "it depends on the user"


@attack(G.PROCESS_LIMIT, unwalled=VARIES)
def start_many_processes(host: Any) -> None:
    """Have more than a hundred processes at once."""
    for _ in range(120):
        fork(lambda: os.execvp("sleep", ["sleep", "60"]))


@attack(G.PROCESS_LIMIT, unwalled=VARIES)
def start_many_threads(host: Any) -> None:
    """Have more than a hundred threads at once."""
    import threading

    lock = threading.Lock()
    lock.acquire()
    try:
        for _ in range(120):
            threading.Thread(target=lock.acquire, daemon=True).start()
    except RuntimeError as error:
        raise Held("no more threads") from error


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=replace(SHORT, processes=16))
def fork_without_end(host: Any) -> None:
    """Fork on and on, also when it fails."""
    while True:
        try:
            os.fork()
        except OSError:
            pass


@attack(G.PROCESS_MEMORY_LIMIT, unwalled=HELD)
def take_much_memory(host: Any) -> None:
    """Fill more memory than a call may have, in one process."""
    bytearray(b"x") * (700 * 1024 * 1024)


@attack(G.MEMORY_LIMIT, unwalled=VARIES)
def take_much_memory_in_many_processes(host: Any) -> None:
    """Fill it in eight processes, each of which keeps to the limit."""
    import select

    def fill() -> None:
        kept = bytearray(b"x") * (60 * 1024 * 1024)
        os.write(1, b"x" if kept else b"")
        os.read(reader, 1)

    reader, writer = os.pipe()
    begun, said = os.pipe()
    os.dup2(said, 1)
    os.close(said)
    children = [fork(fill) for _ in range(8)]
    count, killed = 0, False
    while count < len(children) and not killed:
        if select.select([begun], [], [], 0.02)[0]:
            count += len(os.read(begun, 8))
        else:
            killed = any([os.waitpid(child, os.WNOHANG)[0] for child in children])
    os.write(writer, b"x" * 8)
    # One that was killed for another's sake may have told before; only together they have it.
    need(not killed and not any([os.waitpid(child, 0)[1] for child in children]))


@attack(G.MEMORY_LIMIT, G.NO_CAPABILITIES, unwalled=VARIES)
def take_much_memory_in_pipes(host: Any) -> None:
    """Fill memory that no process owns: pipes, made as large as they may be."""
    import fcntl

    total = 0
    for _ in range(4):
        if os.fork() == 0:
            break
    for _ in range(100):
        _, writer = os.pipe()
        try:
            size = fcntl.fcntl(writer, 1031, 1 << 20)
        except OSError:
            size = fcntl.fcntl(writer, 1032)
        os.set_blocking(writer, False)
        try:
            total += os.write(writer, bytes(size))
        except BlockingIOError:
            pass
    need(total >= 64 << 20)
    os.system("sleep 0.3")


@attack(G.PROCESS_MEMORY_LIMIT, G.MEMORY_LIMIT, unwalled=HELD)
def take_much_memory_in_one_file_of_it(host: Any) -> None:
    """Fill a file that lies in memory, as large as files may be and beyond."""
    descriptor = call(host.numbers["memfd_create"], b"x", 0)
    for _ in range(600):
        os.write(descriptor, bytes(1 << 20))


@attack(G.MEMORY_LIMIT, G.FILES_CONFINED, unwalled="it would fill this machine's memory")
def fill_the_shared_memory(host: Any) -> None:
    """Fill /dev/shm, which outlives processes."""
    for number in range(600):
        write(f"/dev/shm/x{number}", "x" * (1 << 20))


@attack(G.DISK_LIMIT, unwalled=VARIES, limits=replace(LIMITS, disk_bytes=4 * MIB, file_bytes=MIB))
def fill_the_disk(host: Any) -> None:
    """Write many files, each of which is small enough."""
    for number in range(200):
        write(f"x{number}", "x" * (1 << 20))
    sh("sleep 3")


@attack(G.DISK_LIMIT, unwalled=VARIES, limits=replace(LIMITS, disk_bytes=4 * MIB, file_bytes=MIB))
def fill_the_disk_without_names(host: Any) -> None:
    """Fill files that are open and have no name any more."""
    kept = []
    for _ in range(200):
        kept.append(os.open("x", os.O_RDWR | os.O_CREAT))
        os.unlink("x")
        os.write(kept[-1], bytes(1 << 20))
    sh("sleep 3")


@attack(G.DISK_LIMIT, unwalled=VARIES, limits=replace(LIMITS, files=1000))
def make_very_many_files(host: Any) -> None:
    """Use up the inodes of the disk with empty files."""
    for number in range(20_000):
        os.close(os.open(f"x{number}", os.O_CREAT))
    sh("sleep 3")


@attack(unwalled=HELD, limits=replace(LIMITS, file_bytes=MIB, cpu_seconds=5))
def write_a_large_file(host: Any) -> None:
    """Write more into a file than one may hold."""
    with open("big", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))


@attack(unwalled=HELD, limits=replace(LIMITS, file_bytes=MIB))
def make_a_giant_sparse_file(host: Any) -> None:
    """Make a file that seems to be a terabyte, for whoever copies it."""
    with open("sparse", "wb") as file:
        os.truncate(file.fileno(), 1 << 40)


@attack(unwalled=HELD, limits=replace(LIMITS, file_bytes=MIB))
def make_a_giant_sparse_file_by_its_path(host: Any) -> None:
    """The same by a call that someone else may carry out, and by allocation."""
    write("sparse", "x")
    try:
        os.truncate("sparse", 1 << 40)
    except OSError:
        os.posix_fallocate(os.open("sparse", os.O_RDWR), 0, 1 << 40)


@attack(unwalled=HELD, limits=replace(LIMITS, file_bytes=MIB))
def unpack_a_zip_bomb(host: Any) -> None:
    """Unpack a small archive into a large file."""
    import zlib

    packed = zlib.compressobj()
    bomb = b"".join(packed.compress(bytes(1 << 20)) for _ in range(32)) + packed.flush()
    with open("bomb", "wb") as file:
        file.write(zlib.decompress(bomb))


@attack(unwalled=HELD, limits=replace(LIMITS, cpu_seconds=1))
def burn_the_processor(host: Any) -> None:
    """Compute for ever, deaf to the signal that says to stop."""
    import signal

    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


@attack(G.CPU_LIMIT, unwalled=VARIES, limits=replace(LIMITS, cpus=0.1))
def take_the_processor(host: Any) -> None:
    """Compute in eight processes at once, for more than one's share."""
    from time import monotonic, process_time

    until = monotonic() + 3.0  # of which a share of 0.1 is 0.3 seconds

    def burn() -> None:
        while process_time() < 0.06 and monotonic() < until:
            pass

    for _ in range(8):
        fork(burn)
    used = [os.wait4(-1, 0)[2] for _ in range(8)]
    need(sum(usage.ru_utime + usage.ru_stime for usage in used) > 0.45)


@attack(unwalled=HELD, limits=SHORT)
def wait_for_ever(host: Any) -> None:
    """Sleep beyond the wall time."""
    os.execvp("sleep", ["sleep", host.mark])


@attack(unwalled=HELD)
def open_many_files(host: Any) -> None:
    """Hold more files open than one may."""
    for _ in range(1000):
        os.open("/dev/null", os.O_RDONLY)


@attack(unwalled=HELD)
def leave_a_core(host: Any) -> None:
    """Crash, so that the memory is written to a file."""
    import resource

    need(resource.getrlimit(resource.RLIMIT_CORE)[1] != 0)


@attack(unwalled=HELD, limits=replace(LIMITS, memory_bytes=256 * MIB))
def lock_memory(host: Any) -> None:
    """Take memory that cannot be given back, more than the call may have."""
    kept = bytearray(b"x") * (300 << 20)
    need(call(host.numbers["mlockall"], 3) == 0 and kept)


@attack(unwalled=HELD)
def make_a_folder_too_deep_to_remove(host: Any) -> None:
    """Nest folders in the temporary folder until nobody's path reaches the innermost."""
    for place in (os.environ["TMPDIR"], os.environ["HOME"]):
        os.chdir(place)
        for _ in range(1500):
            os.mkdir("deep" * 20)
            os.chdir("deep" * 20)
    sh("false")


@attack(unwalled=HELD)
def make_a_folder_that_may_not_be_removed(host: Any) -> None:
    """Take away every right to what lies in the temporary folder."""
    os.chdir(os.environ["TMPDIR"])
    for _ in range(5):
        os.makedirs("locked/inner")
        write("locked/inner/file", "x")
        os.chmod("locked/inner", 0)
        os.chmod("locked", 0)
        break
    os.chmod(os.environ["HOME"], 0)
    sh("false")
