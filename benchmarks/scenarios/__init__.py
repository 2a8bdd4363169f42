"""One module for each question; the order is the report's."""

from __future__ import annotations

from ..model import Scenario
from . import (
    autoscaling,
    blobs,
    crash,
    embedded,
    facade,
    gate,
    graph,
    growth,
    heartbeats,
    memory,
    mixed,
    noop,
    parked,
    recycling,
    startup,
    urgent,
)

SCENARIOS: tuple[Scenario, ...] = tuple(
    module.SCENARIO
    for module in (
        *(
            noop,
            urgent,
            mixed,
            recycling,
            crash,
            heartbeats,
            blobs,
            growth,
            autoscaling,
            memory,
            startup,
        ),
        *(graph, gate, parked),
        *(facade, embedded),
    )
)
