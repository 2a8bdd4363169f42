"""Telling an order that a store does not take from a store that is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")


def ask_apart(
    ask: Callable[[Sequence[T]], Sequence[A]], orders: Sequence[T], check: Callable[[], None]
) -> list[A | Exception]:
    """Ask for all at once, and where that fails for parts, until those to blame are alone.

    Returns an answer for each order, or why it cannot have one: it failed by itself, twice,
    while everything else was well.

    Arguments:
        ask: may be repeated after an error.
        check: raises what is wrong when it is not the orders; that passes, and nobody has an
            answer then.
    """
    if not orders:
        return []
    try:
        return list(ask(orders))
    except Exception:  # What a store has against an order may be anything.
        check()
    if len(orders) > 1:
        half = len(orders) // 2
        return [
            *ask_apart(ask, orders[:half], check),
            *ask_apart(ask, orders[half:], check),
        ]
    try:
        return list(ask(orders))
    except Exception as exc:
        check()
        return [exc]
