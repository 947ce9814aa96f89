"""Attacks on files: reading, changing and replacing what lies outside the workspace."""

from __future__ import annotations

import os
from typing import Any

from tests.escape.attack import AS_ROOT, HELD, Family, G
from tests.escape.inside import Held, any_of, call, fork, may_write, need, read, sh, write

attack = Family("files")
MACHINE = "it would change this machine"
VARIES = "it depends on the machine whether an ordinary process may"


@attack(G.FILES_CONFINED)
def read_a_file_by_its_path(host: Any) -> None:
    """Read a file that lies beside the workspace."""
    read(host.secret)


@attack(G.FILES_CONFINED)
def read_a_file_by_dots(host: Any) -> None:
    """Climb out of the workspace with `..`."""
    any_of(
        lambda: read("../secret.txt"), lambda: read("./kept/../../secret.txt"), lambda: read("/workspace/../secret.txt")
    )


@attack(G.FILES_CONFINED)
def read_a_file_by_a_link(host: Any) -> None:
    """Make a symbolic link to a file outside, and read it."""
    os.symlink(host.secret, "link")
    read("link")


@attack(G.FILES_CONFINED)
def read_a_file_by_a_link_to_a_folder(host: Any) -> None:
    """Make a symbolic link to the root, and go through it."""
    os.symlink("/", "root")
    read("root" + host.secret)


@attack(G.FILES_CONFINED)
def read_a_file_by_a_link_to_proc(host: Any) -> None:
    """Reach the root of another process by links that the kernel itself makes."""
    own = [
        f"/proc/{pid}/{place}" for pid in ("self", "1", os.getppid(), host.treadle) for place in ("root", "task/1/root")
    ]
    any_of(*(lambda at=at: read(at + host.secret) for at in own))


@attack(G.FILES_CONFINED)
def read_a_file_by_the_folder_of_treadle(host: Any) -> None:
    """Reach the files of the process that started all this by its current folder."""
    os.listdir(f"/proc/{host.treadle}/cwd/")


@attack(G.FILES_CONFINED)
def read_a_file_by_a_descriptor_of_treadle(host: Any) -> None:
    """Open anew what Treadle has open (CVE-2024-21626 of runc)."""
    read(f"/proc/{host.treadle}/fd/{host.descriptor}")


@attack(G.FILES_CONFINED, unwalled=HELD)
def read_an_inherited_descriptor(host: Any) -> None:
    """Use a descriptor that was left open for the child."""
    for number in range(3, 512):
        try:
            os.pread(number, 10, 0)
        except OSError:
            continue
        os.lseek(number, 0, 0)
        need(len(os.read(number, 100)) == 24)
        return
    raise Held("none")


@attack(G.FILES_CONFINED, unwalled=HELD)
def reach_a_folder_by_an_inherited_descriptor(host: Any) -> None:
    """Climb from a folder that was left open (CVE-2016-9962 of runc)."""
    for number in range(3, 512):
        try:
            inner = os.open("..", os.O_RDONLY, dir_fd=number)
        except OSError:
            continue
        os.listdir(inner)
        return
    raise Held("none")


@attack(G.FILES_CONFINED)
def list_the_folder_above(host: Any) -> None:
    """List what lies beside the workspace."""
    need("secret.txt" in os.listdir(host.folder))


@attack(G.FILES_CONFINED)
def see_how_large_a_file_is(host: Any) -> None:
    """Ask for size and dates of a file outside."""
    os.stat(host.secret)


@attack(G.FILES_CONFINED)
def see_where_a_link_leads(host: Any) -> None:
    """Read a symbolic link outside."""
    os.readlink(host.folder + "/link")


@attack(G.FILES_CONFINED)
def go_into_a_folder(host: Any) -> None:
    """Make a folder outside the current one."""
    os.chdir(host.folder)


@attack(G.FILES_CONFINED)
def watch_a_folder(host: Any) -> None:
    """Be told the names of files that the user opens outside."""
    watch = call(host.numbers["inotify_init1"], 0)
    call(host.numbers["inotify_add_watch"], watch, host.folder.encode(), 0xFFF)


@attack(G.FILES_CONFINED, unwalled="not every file system has attributes")
def read_the_attributes_of_a_file(host: Any) -> None:
    """Read the extended attributes of a file outside."""
    any_of(lambda: os.getxattr(host.secret, "user.note"), lambda: os.listxattr(host.secret))


@attack(G.FILES_CONFINED, unwalled=AS_ROOT)
def read_the_passwords(host: Any) -> None:
    """Read the password hashes of the host, or root's keys."""
    any_of(lambda: read("/etc/shadow"), lambda: os.listdir("/root/.ssh"), lambda: read("/etc/gshadow"))


@attack(G.FILES_CONFINED)
def read_the_identity_of_the_machine(host: Any) -> None:
    """Read what names this machine to others, and its file systems."""
    named = [lambda: need(read("/etc/machine-id")), lambda: need(host.hostname in read("/etc/hostname"))]
    any_of(*named, lambda: need(read("/etc/fstab")))


@attack(G.FILES_CONFINED, unwalled="it may be empty")
def list_the_home_folder(host: Any) -> None:
    """See what lies in the user's home."""
    need(set(host.at_home) & set(os.listdir(host.home)))


@attack(G.FILES_CONFINED)
def write_a_file_beside_the_workspace(host: Any) -> None:
    """Make a new file outside."""
    any_of(lambda: write(host.folder + "/planted", "x"), lambda: write("../planted", "x"))


@attack(G.FILES_CONFINED)
def append_to_a_file(host: Any) -> None:
    """Add to a file outside, as to a .bashrc."""
    write(host.secret, "x", "a")


@attack(G.FILES_CONFINED)
def cut_a_file_off(host: Any) -> None:
    """Truncate a file outside by its path, which no open() precedes."""
    os.truncate(host.secret, 0)


@attack(G.FILES_CONFINED)
def change_the_mode_of_a_file(host: Any) -> None:
    """Open a file of the user's to everybody."""
    any_of(lambda: os.chmod(host.secret, 0o666), lambda: os.chmod(host.folder, 0o777))


@attack(G.FILES_CONFINED)
def change_the_mode_by_a_link(host: Any) -> None:
    """Change a mode outside through a link in the workspace."""
    os.symlink(host.secret, "link")
    os.chmod("link", 0o666)


@attack(G.FILES_CONFINED)
def change_the_mode_while_a_link_is_swapped(host: Any) -> None:
    """Have the path checked on a file of ours, and used on one of theirs."""
    write("mine", "x")
    write("trap", "x")

    def swap() -> None:
        while True:
            os.symlink(host.secret, "theirs")
            os.rename("theirs", "trap")
            os.link("mine", "ours")
            os.rename("ours", "trap")

    swapper = fork(swap)
    for _ in range(40):
        while not os.path.islink("trap"):  # until the other one is at it, on a machine with much to do
            need(os.waitpid(swapper, os.WNOHANG)[0] == 0)
        for _ in range(1000):
            try:
                os.chmod("trap", 0o666)
            except OSError:
                continue
    os.kill(swapper, 9)
    need(os.stat(host.secret).st_mode & 0o777 == 0o666)


@attack(G.FILES_CONFINED)
def change_the_times_of_a_file(host: Any) -> None:
    """Make a file outside look old or new to a build."""
    os.utime(host.secret, (9, 9))


@attack(G.FILES_CONFINED, unwalled=AS_ROOT)
def change_the_owner_of_a_file(host: Any) -> None:
    """Give a file outside to somebody else."""
    os.chown(host.secret, 12345, 12345)


@attack(G.FILES_CONFINED, unwalled=VARIES)
def mark_a_file_as_unchangeable(host: Any) -> None:
    """Set inode flags of a file outside, by an ioctl on a descriptor of it."""
    import fcntl

    fcntl.ioctl(os.open(host.secret, os.O_RDONLY), 0x40086602, b"\x10\0\0\0\0\0\0\0")


@attack(G.FILES_CONFINED)
def move_a_file_away(host: Any) -> None:
    """Rename or remove a file outside."""
    any_of(lambda: os.rename(host.secret, host.secret + ".old"), lambda: os.unlink(host.secret))


@attack(G.FILES_CONFINED)
def move_a_file_into_the_workspace(host: Any) -> None:
    """Fetch a file by renaming it."""
    os.rename(host.secret, "fetched")


@attack(G.FILES_CONFINED)
def link_a_file_into_the_workspace(host: Any) -> None:
    """Give a file outside a second name, inside (Claude Code and Codex had to close this)."""
    any_of(lambda: os.link(host.secret, "hard"), lambda: os.link("../secret.txt", "hard"))
    write("hard", "x", "a")


@attack(G.FILES_CONFINED, unwalled="the workspace and the runtime may lie on one file system")
def link_a_program_into_the_workspace(host: Any) -> None:
    """Give a file of the runtime a second name that can be written."""
    os.link(os.__file__, "hard")


@attack(G.FILES_CONFINED)
def exchange_the_workspace(host: Any) -> None:
    """Swap the workspace folder with another one, so that the next call works there."""
    call(host.numbers["renameat2"], -100, host.workspace.encode(), -100, (host.folder + "/other").encode(), 2)


@attack(G.FILES_CONFINED)
def replace_the_workspace_by_a_link(host: Any) -> None:
    """Move the workspace away and put a link to the root in its place."""
    os.rename(host.workspace, host.workspace + ".old")
    os.symlink("/", host.workspace)


@attack(G.FILES_CONFINED)
def remove_the_workspace(host: Any) -> None:
    """Remove the folder itself, or lock Treadle out of it."""
    sh(f"mv {host.workspace} {host.folder}/gone")


@attack(G.FILES_CONFINED)
def write_to_a_pipe_of_the_host(host: Any) -> None:
    """Send a word to whoever reads a named pipe outside."""
    descriptor = os.open(host.folder + "/pipe", os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, b"x")


@attack(G.FILES_CONFINED, unwalled=AS_ROOT)
def open_a_file_by_its_handle(host: Any) -> None:
    """Open by inode number what no path leads to (the Shocker attack on Docker)."""
    import ctypes

    handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
    handle[0:4] = (128).to_bytes(4, "little")
    call(host.numbers["name_to_handle_at"], -100, b".", handle, ctypes.byref(mount), 0)
    call(host.numbers["open_by_handle_at"], os.open(".", os.O_RDONLY), handle, 0)


@attack(G.FILES_CONFINED)
def open_a_file_by_openat2(host: Any) -> None:
    """Use the one call to open files whose arguments a filter cannot read."""
    import ctypes

    how = ctypes.create_string_buffer(24)
    call(437, -100, host.secret.encode(), how, 24)


@attack(G.FILES_CONFINED)
def read_shared_memory_of_the_host(host: Any) -> None:
    """Attach a System V segment of the user's by its key."""
    import ctypes

    segment = call(host.numbers["shmget"], host.key, 0, 0)
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_long
    need(libc.shmat(segment, None, 0) != -1)


@attack(G.FILES_CONFINED)
def read_a_file_in_shared_memory(host: Any) -> None:
    """Open a POSIX shared memory object of the user's."""
    read(f"/dev/shm/treadle-{host.mark}")


@attack(G.FILES_CONFINED)
def write_a_file_in_shared_memory(host: Any) -> None:
    """Overwrite a POSIX shared memory object of the user's."""
    write(f"/dev/shm/treadle-{host.mark}", "x", "r+")


@attack(G.FILES_CONFINED)
def write_to_the_terminal(host: Any) -> None:
    """Write escape sequences to a terminal of the user's."""
    write(host.terminal, "\x1b]0;owned\x07")


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def change_the_library_of_python(host: Any) -> None:
    """Write to a module that Treadle itself imports, or set its mode."""
    mode = os.stat(os.__file__).st_mode & 0o777
    any_of(lambda: may_write(os.__file__), lambda: os.chmod(os.__file__, mode))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def change_the_library_by_a_descriptor(host: Any) -> None:
    """Set the mode of a module by a descriptor that was opened for reading."""
    module = os.open(os.__file__, os.O_RDONLY)
    mode = os.fstat(module).st_mode & 0o777
    any_of(lambda: os.fchmod(module, mode), lambda: os.chmod(f"/proc/self/fd/{module}", mode))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def plant_a_pth_file(host: Any) -> None:
    """Have Treadle's Python run a line at each start: a .pth file where it looks for packages."""
    import sys

    inner = [f"{sys.prefix}/lib/{name}/site-packages" for name in os.listdir(sys.prefix + "/lib")]
    any_of(
        *(
            lambda at=at: may_write(f"{at}/treadle-escape.pth")
            for at in [host.site, f"{host.site}/site-packages", *inner]
        )
    )


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def plant_a_program(host: Any) -> None:
    """Put a program where the host looks for programs."""
    folders = ("/usr/bin", "/usr/local/bin", "/bin", "/opt", host.home + "/.local/bin", host.home + "/bin", "/")
    any_of(*(lambda at=folder: may_write(at + "/treadle-escape") for folder in folders))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def plant_a_preloaded_library(host: Any) -> None:
    """Have the dynamic linker load a library into every program."""
    any_of(*(lambda at=at: may_write(at) for at in ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/treadle-escape")))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def plant_a_job_or_a_login_script(host: Any) -> None:
    """Have the host run something later: cron, profile, .bashrc."""
    places = ["/etc/profile.d/treadle-escape", "/var/spool/cron/treadle-escape", "/etc/crontab", "/etc/profile"]
    places += [f"{host.home}/{name}" for name in (".bashrc", ".profile", ".config/treadle-escape")]
    any_of(*(lambda at=at: may_write(at) for at in places))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def overwrite_the_interpreter(host: Any) -> None:
    """Overwrite the program that runs outside, by /proc (CVE-2019-5736 of runc)."""
    import sys

    paths = ["/proc/self/exe", f"/proc/{os.getppid()}/exe", f"/proc/{host.treadle}/exe", sys.executable]
    paths.append(os.path.realpath(sys.executable))
    any_of(*(lambda at=at: os.open(at, os.O_WRONLY) for at in paths))


@attack(G.FILES_CONFINED, unwalled=VARIES)
def read_the_disk(host: Any) -> None:
    """Read the device that the host's files lie on, or the memory of the machine."""
    names = ("vda", "sda", "nvme0n1", "xvda", "mem", "kmem", "port", "mapper/control", "kvm", "fuse", "loop-control")
    any_of(*(lambda at=name: os.open(f"/dev/{at}", os.O_RDONLY) for name in names))


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def make_a_device(host: Any) -> None:
    """Make a block device in the workspace, and open it."""
    any_of(lambda: os.mknod("disk", 0o60666, os.makedev(254, 0)), lambda: os.mknod("mem", 0o20666, os.makedev(1, 1)))


@attack(G.SYSCALL_FILTER)
def make_a_setuid_file(host: Any) -> None:
    """Leave a file that lends the caller's rights to whoever runs it on the host."""
    write("b", "x")
    any_of(
        lambda: os.chmod("b", 0o4755),
        lambda: os.chmod("b", 0o2755),
        lambda: os.fchmod(os.open("b", os.O_RDONLY), 0o4755),
        lambda: os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o4755)),
        lambda: os.mknod("c", 0o104755),
        lambda: call(452, -100, b"b", 0o4755, 0),
    )


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def give_a_file_capabilities(host: Any) -> None:
    """Leave a file that has a capability on the host."""
    write("b", "x")
    value = (0x2000001).to_bytes(4, "little") + (0xFFFFFFFF).to_bytes(4, "little") * 4
    any_of(
        lambda: os.setxattr("b", "security.capability", value),
        lambda: os.setxattr("b", "security.capability", value + b"\0" * 4),
    )


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def give_a_file_away(host: Any) -> None:
    """Leave a file that seems to be somebody else's."""
    write("b", "x")
    os.chown("b", 12345, 12345)


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def write_a_setting_of_the_kernel(host: Any) -> None:
    """Have the kernel run a program as root: core_pattern, modprobe, uevent_helper, binfmt."""
    names = ("core_pattern", "modprobe", "hotplug", "hostname", "sysrq", "poweroff_cmd")
    paths = [f"/proc/sys/kernel/{name}" for name in names]
    paths += [
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/proc/sys/fs/binfmt_misc/register",
    ]
    any_of(*(lambda at=at: os.open(at, os.O_WRONLY) for at in paths))


@attack(G.FILES_CONFINED, unwalled=AS_ROOT)
def leave_the_control_group(host: Any) -> None:
    """Move out of the group that bounds memory and processes."""
    roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"]
    any_of(*(lambda at=root: write(f"{at}/cgroup.procs", "0") for root in roots))


@attack(G.FILES_CONFINED, unwalled=MACHINE)
def set_a_release_agent(host: Any) -> None:
    """Have the kernel run a program on the host when a cgroup empties (CVE-2022-0492)."""
    kinds = ("", "memory/", "pids/", "cpu/", "rdma/", "systemd/", "devices/")
    any_of(*(lambda at=kind: os.open(f"/sys/fs/cgroup/{at}release_agent", os.O_WRONLY) for kind in kinds))


@attack(G.FILES_CONFINED, unwalled=AS_ROOT)
def read_the_kernel(host: Any) -> None:
    """Read what only root may of the kernel: its memory, where things lie in it, its log, its pages."""
    names = ("kcore", "kmsg", "kpagecount", "kpageflags", "vmallocinfo", "slabinfo", "timer_list")
    any_of(*(lambda at=name: need(read(f"/proc/{at}", 4096).strip("0-: \n")) for name in names))


@attack(G.FILES_CONFINED, unwalled=VARIES)
def read_the_devices_of_the_machine(host: Any) -> None:
    """Look at the hardware, its firmware, its network and the debug files of the kernel."""
    places = ("/sys/kernel/debug", "/sys/firmware", "/sys/class/net", "/sys/fs/bpf", "/dev/mapper", "/dev/disk")
    any_of(*(lambda at=at: need(set(os.listdir(at)) - {"lo", "control"}) for at in places))
