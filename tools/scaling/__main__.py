"""``python -m tools.scaling``: compare the two on every load; writes a picture and a table.

    python -m tools.scaling                      # the loads of the documentation: to docs/
    python -m tools.scaling my-tasks.csv         # a load of one's own, printed only

A load of one's own is a file with a line for each task: the second it was sent, a comma, and how
many seconds it ran. ``python -m tools.scaling.record`` writes one from the events of workers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .loads import LoadCase, every, recorded
from .plot import Comparison, picture, table
from .rivals import PREFORKS_START, CelerysAutoscaler, ThisPool
from .simulation import Pool

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURE = DOCS / "autoscaling.svg"
PAGE = DOCS / "operating.md"
BEGIN, END = "<!-- figures of the simulation -->\n", "<!-- end -->\n"


def compare(
    case: LoadCase, low: int = 2, high: int = 8, preforks_start: float = PREFORKS_START
) -> Comparison:
    """Run a load through both."""
    celery = Pool(case, CelerysAutoscaler(low, high, preforks_start), low).simulate()
    ours = Pool(case, ThisPool(low, high), low).simulate()
    return Comparison(case, celery, ours)


def with_table(page: str, figures: str) -> str:
    """The page with other figures."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.scaling", description=__doc__)
    parser.add_argument("load", nargs="*", type=Path, help="files with loads of one's own")
    parser.add_argument("--min", type=int, default=2, help="fewest children")
    parser.add_argument("--max", type=int, default=8, help="most children")
    arguments = parser.parse_args()
    cases = [recorded(path, path.stem) for path in arguments.load] or every()
    comparisons = [compare(case, arguments.min, arguments.max) for case in cases]
    print(table(comparisons), end="")
    if not arguments.load:
        PICTURE.write_text(picture(comparisons, arguments.max))
        PAGE.write_text(with_table(PAGE.read_text(), table(comparisons)))


if __name__ == "__main__":
    main()
