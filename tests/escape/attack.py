"""What an attack is: a function that runs inside a sandbox, and what is known of it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.escape import inside

from treadle.ports.sandbox import MIB, Guarantee, Limits

G = Guarantee
THROUGH, AS_ROOT, HELD = "through", "through as root", "held"
"""What an attack comes to where there are no walls at all."""
_OF_LIMITS = {G.MEMORY_LIMIT, G.PROCESS_LIMIT, G.PROCESS_MEMORY_LIMIT, G.CPU_LIMIT, G.DISK_LIMIT}
LIMITS = Limits(wall_seconds=20.0, cpu_seconds=10, memory_bytes=256 * MIB, processes=24, output_bytes=8192)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. It gets through if its function returns, or if the host is found changed afterwards."""

    run: Callable[[Any], None]
    by: frozenset[Guarantee]
    """Any of these stops it. None: every backend does, also the one without walls."""
    unwalled: str
    """What it comes to without walls: one of the three above, or why it is not tried there."""
    limits: Limits = LIMITS
    by_host: bool = False
    """Only the host tells whether it got through: inside, it always seems so."""

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def tries(self) -> str:
        return inspect.getdoc(self.run) or ""

    def program(self, facts: dict[str, Any]) -> str:
        """The source to run inside."""
        return f"{inspect.getsource(inside)}\n{self.source}\nrun({self.name}, Facts({facts!r}))\n"

    @property
    def is_plain(self) -> bool:
        """Whether it leaves nothing running, and keeps to the limits of others."""
        return not self.by_host and self.limits == LIMITS and not self.by & _OF_LIMITS

    @property
    def source(self) -> str:
        """The function, without its decorator."""
        tree = ast.parse(inspect.getsource(self.run))
        function = tree.body[0]
        assert isinstance(function, ast.FunctionDef)
        function.decorator_list = []
        return ast.unparse(tree)


@dataclass
class Family:
    """Attacks of one kind; a decorator that adds one."""

    name: str
    attacks: list[Attack] = field(default_factory=list)

    def __call__(
        self, *by: Guarantee, unwalled: str = THROUGH, by_host: bool = False, limits: Limits = LIMITS
    ) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        def add(function: Callable[[Any], None]) -> Callable[[Any], None]:
            self.attacks.append(Attack(function, frozenset(by), unwalled, limits, by_host))
            return function

        return add
