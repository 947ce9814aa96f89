"""All faults, in the order in which they are played."""

from __future__ import annotations

from tests.faults import clocks, crowds, networks, processes, servers
from tests.faults.scenario import SCENARIOS, Row, Scenario, enter, run

PLACES = (processes, servers, networks, clocks, crowds)
__all__ = ["PLACES", "SCENARIOS", "Row", "Scenario", "enter", "run"]
