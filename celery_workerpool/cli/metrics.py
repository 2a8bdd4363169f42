"""``celery workerpool metrics``: how tasks ended, how long they waited and ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..adapter.info import describe_ends
from ..metrics import Histogram, Ledger, Outcome
from ..types import TaskPriority
from .asking import Replies, question, title
from .text import age, span, table

PERCENTILES = (0.5, 0.95, 0.99)
TIMES = ("TASKS", "WAITED P50", "P95", "P99", "RAN P50", "P95", "P99")
ENDS = tuple(outcome.name.replace("_", " ") for outcome in Outcome)


@question("metrics", "Show how tasks ended, how long they waited and ran.", "workerpool_metrics")
def metrics(replies: Replies) -> str:
    """The figures of all workers that answered, as one."""
    useful = {name: reply for name, reply in replies.items() if "error" not in reply}
    lines = [
        f"{title(name)}  {replies[name]['error']}"
        if name not in useful
        else f"{title(name)}  {useful[name]['throughput']:.1f} tasks/s in the last minute"
        + _since_its_start(useful[name])
        for name in sorted(replies)
    ]
    total = Ledger.merged(useful.values())
    if total.children:
        lines += ["", f"  children ended: {', '.join(describe_ends(total.children))}"]
    if total.tasks:
        lines += ["", *_by_priority(total), "", *_by_task(total), "", *_outcomes(total)]
    return "\n".join(lines)


def _since_its_start(figures: Mapping[str, Any]) -> str:
    """What has become of tasks that are in no table, as far as there were any."""
    keys = ("released", "given_back", "quarantined")
    counts = [(key, figures[key]) for key in keys if figures.get(key)]
    text = "".join(f", {count:,} {key.replace('_', ' ')}" for key, count in counts)
    if figures.get("parked"):  # In the store, so the same for all workers of a broker.
        longest = age(figures["oldest-parked"])
        text += f", {figures['parked']:,} wait for others, one of them for {longest}"
    return text


def _by_priority(total: Ledger) -> Iterator[str]:
    rows = [
        (level.name, *_times(total.waited[level], total.ran[level]))
        for level in TaskPriority
        if len(total.waited[level])
    ]
    return table(("PRIORITY", *TIMES), rows, numbers=range(1, 8))


def _by_task(total: Ledger) -> Iterator[str]:
    rows = [
        (name, *_times(figures.waited, figures.ran))
        for name, figures in sorted(total.tasks.items())
    ]
    return table(("TASK", *TIMES), rows, numbers=range(1, 8))


def _outcomes(total: Ledger) -> Iterator[str]:
    rows = [
        (name, *(f"{figures.outcomes[outcome]:,}" for outcome in Outcome))
        for name, figures in sorted(total.tasks.items())
    ]
    return table(("TASK", *ENDS), rows, numbers=range(1, len(ENDS) + 1))


def _times(waited: Histogram, ran: Histogram) -> list[str]:
    return [f"{len(waited):,}", *_percentiles(waited), *_percentiles(ran)]


def _percentiles(histogram: Histogram) -> list[str]:
    return [span(histogram.quantile(fraction)) for fraction in PERCENTILES]
