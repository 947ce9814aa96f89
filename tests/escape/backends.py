"""The backends that are attacked, and what each does not hold."""

from __future__ import annotations

import os
from pathlib import Path

from tests.escape.attack import AS_ROOT, HELD, LIMITS, THROUGH, Attack, G

from treadle.ports.sandbox import Sandbox
from treadle.sandboxes import choose
from treadle.sandboxes._cgroup import find_controllers
from treadle.sandboxes.landlock import LandlockSandbox

OLD_LANDLOCK = "landlock-of-linux-5.19"
"""ABI 2: no right to truncate, no TCP rules, no scopes. The filter and the launcher must make up for them."""
SLOW = frozenset({"docker"})
"""A call takes a good part of a second to start."""
BACKENDS = (*(name for name in choose.BACKENDS if name != "none"), OLD_LANDLOCK, "none")

LACKS: dict[str, dict[G, str]] = {
    "landlock": {G.PROCESSES_HIDDEN: "/proc shows that processes exist, and nothing of what they do"},
    OLD_LANDLOCK: {G.PROCESSES_HIDDEN: "/proc shows that processes exist, and nothing of what they do"},
    "none": dict.fromkeys(G, "there are no walls"),
}
"""Backend -> guarantee that it lacks on every machine -> why. Each is proved by the attacks that it would stop."""
NO_WALL = frozenset({G.ALLOW_LIST})
"""A way out that some offer, and no wall: `test_sandbox_egress.py` is about it."""
WITHOUT_CGROUP = {
    G.MEMORY_LIMIT: "only each process by itself is bounded",
    G.CPU_LIMIT: "the scheduler shares out the processor",
    G.PROCESS_LIMIT: "RLIMIT_NPROC does not hold root",
}
"""What may be missing as well where no cgroup can be made."""

NOT_HELD: dict[str, dict[str, str]] = {
    "docker": {"connect_to_a_socket_in_the_workspace": "it is a file of the workspace, which is there to be used"},
    "bubblewrap": {"connect_to_a_socket_in_the_workspace": "it is a file of the workspace, which is there to be used"},
    "landlock": {
        "see_how_large_a_file_is": "Landlock does not govern stat",
        "see_where_a_link_leads": "Landlock does not govern readlink",
        "go_into_a_folder": "Landlock does not govern chdir; what lies in the folder stays closed",
    },
}
"""Backend -> attack -> why it gets through though the guarantees are held. Proved by running it."""
AS_ROOT_ONLY = {("docker", "read_the_kernel"): "an engine covers only some of what root may read in /proc"}
"""The same where it is so for a root caller only, whom an engine leaves root of the container."""
NOT_HELD[OLD_LANDLOCK] = NOT_HELD["landlock"]


async def open_backend(name: str, workspace: Path) -> Sandbox:
    if name == OLD_LANDLOCK:
        await choose.open_sandbox(workspace, backend="landlock")
        return LandlockSandbox(workspace, abi=2, limits=LIMITS, controllers=find_controllers())
    return await choose.open_sandbox(workspace, backend=name, limits=LIMITS)


def why_not_held(backend: str, attack: Attack, held: frozenset[G]) -> str:
    """Why an attack gets through on a backend that holds these guarantees; '' if it must not."""
    if backend == "none":
        through = attack.unwalled == THROUGH or (attack.unwalled == AS_ROOT and os.getuid() == 0)
        return "there are no walls" if through else ""
    row = NOT_HELD.get(backend, {}).get(attack.name, "")
    row = row or (AS_ROOT_ONLY.get((backend, attack.name), "") if os.getuid() == 0 else "")
    if row or not attack.by or attack.by & held:
        return row
    reasons = LACKS.get(backend, {}) | WITHOUT_CGROUP
    return " and ".join(reasons.get(guarantee, f"NO ROW for {guarantee}") for guarantee in attack.by)


def is_tried(backend: str, attack: Attack) -> bool:
    if backend == OLD_LANDLOCK:  # what its age makes no difference to is tried on the new one
        return attack.run.__module__.rpartition("_")[2] in ("files", "processes", "network")
    return backend != "none" or attack.unwalled in (THROUGH, AS_ROOT, HELD)
