"""Files in which tasks leave lines: what ran, and how often."""

from __future__ import annotations

from pathlib import Path

from .waiting import wait_until


class Trace:
    """A file to which tasks append lines, and a gate that holds tasks until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "trace")
        self.gate = str(directory / "gate")

    def lines(self) -> list[str]:
        file = Path(self.path)
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, *lines: str) -> None:
        """Until each of these has been left at least once."""
        wait_until(lambda: set(lines) <= set(self.lines()), f"{lines} in {self.path}")

    def wait_for_count(self, count: int) -> None:
        """Until there are so many lines."""
        wait_until(lambda: len(self.lines()) >= count, f"{count} lines in {self.path}")

    def open_gate(self) -> None:
        """Let the tasks go on that wait for it."""
        Path(self.gate).touch()
