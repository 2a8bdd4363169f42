"""``celery workerpool metrics``: how tasks ended, how long they waited and ran."""

from __future__ import annotations

from ..metrics import Histogram, Ledger, Outcome
from .asking import Replies, question, title
from .text import span, table

PERCENTILES = (0.5, 0.95, 0.99)
WAITED = ("WAITED", "TASKS", "P50", "P95", "P99")
RAN = ("TASK", *(outcome.name.replace("_", " ") for outcome in Outcome), "RAN P50", "P95", "P99")


@question("metrics", "Show how tasks ended, how long they waited and ran.", "workerpool_metrics")
def metrics(replies: Replies) -> str:
    """The figures of all workers that answered, as one."""
    useful = {name: reply for name, reply in replies.items() if "error" not in reply}
    lines = [
        f"{title(name)}  {replies[name]['error']}"
        if name not in useful
        else f"{title(name)}  {useful[name]['throughput']:.1f} tasks/s in the last minute"
        for name in sorted(replies)
    ]
    total = Ledger.merged(useful.values())
    if any(map(len, total.waited.values())):
        lines += ["", *_waited(total), "", *_ran(total)]
    return "\n".join(lines)


def _waited(total: Ledger) -> list[str]:
    rows = [
        (level.name, f"{len(waited):,}", *_percentiles(waited))
        for level, waited in total.waited.items()
        if len(waited)
    ]
    return list(table(WAITED, rows, numbers=range(1, 5)))


def _ran(total: Ledger) -> list[str]:
    rows = [
        (
            name,
            *(f"{figures.outcomes[outcome]:,}" for outcome in Outcome),
            *_percentiles(figures.ran),
        )
        for name, figures in sorted(total.tasks.items())
    ]
    return list(table(RAN, rows, numbers=range(1, len(RAN))))


def _percentiles(histogram: Histogram) -> list[str]:
    return [span(histogram.quantile(fraction)) for fraction in PERCENTILES]
