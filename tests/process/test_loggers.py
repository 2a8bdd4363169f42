"""billiard finds no loggers at the start of a child, and everybody else finds them."""

from __future__ import annotations

import logging

from celery_workerpool.process.loggers import loggers_out_of_sight
from tests.support.pool import Pool

NAME = "tests.process.seldom"
logging.getLogger(NAME).addHandler(logging.NullHandler())


def known_logger() -> tuple[bool, int, bool]:
    """Whether a child knows it, how many handlers it has, and that one can write to them."""
    logger = logging.getLogger(NAME)
    logger.warning("heard by nobody")
    known = NAME in logging.Logger.manager.loggerDict
    return known, len(logger.handlers), type(logging.Logger.manager) is logging.Manager


def test_only_the_first_look_finds_none() -> None:
    manager = logging.Logger.manager
    with loggers_out_of_sight():
        assert logging.getLogger(NAME).handlers
        assert logging.Logger.manager.loggerDict == {}
        assert NAME in logging.Logger.manager.loggerDict
        assert logging.Logger.manager is manager
    assert logging.Logger.manager is manager


def test_without_a_look_they_are_back_at_the_end() -> None:
    manager = logging.Logger.manager
    with loggers_out_of_sight():
        pass
    assert logging.Logger.manager is manager


def test_a_child_has_its_loggers() -> None:
    with Pool(1) as pool:
        assert pool.run(known_logger).value == (True, 1, True)
