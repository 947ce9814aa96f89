"""Names of traces that other programs are told: the same for the same call, also after a crash. Pure."""

from __future__ import annotations

import hashlib


def traceparent(run_id: str, call: str) -> str:
    """The W3C `traceparent` of a call: the trace is named for the run, its parent span for the call."""
    trace = hashlib.sha256(run_id.encode()).hexdigest()[:32]
    span = hashlib.sha256(f"{run_id}/{call}".encode()).hexdigest()[:16]
    return f"00-{trace}-{span}-01"
