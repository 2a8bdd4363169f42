"""One validated, frozen object for everything that can be configured beyond Celery's own."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import SettingsError

#: Celery settings that belong to this package start with it (``CELERY_WORKERPOOL_…`` in Django).
PREFIX = "workerpool_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the pool, each as ``workerpool_<name>`` in the Celery configuration.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    #: Seconds of waiting that lift a task by one priority level.
    priority_aging: float = 30.0
    #: Seconds between two looks at the memory of a child that runs a task.
    memory_sample_interval: float = 1.0
    #: Kill a child whose memory exceeds this multiple of ``worker_max_memory_per_child``
    #: while its task runs; None leaves it to be replaced after the task.
    memory_kill_ratio: float | None = None
    #: Seconds a child may take until it is ready; None: ``worker_proc_alive_timeout``, and at
    #: least 60 where every child is a fresh interpreter (``worker_pool_start_method`` spawn).
    start_timeout: float | None = None
    #: Seconds between the signal that ends a task when the pool stops, and SIGKILL.
    terminate_grace: float = 5.0
    #: Where tasks wait for others: a URL; None: where the results are, if that is possible.
    gate_store: str | None = None
    #: Seconds that a task waits for others of which nothing is heard; a task's header
    #: ``dependency_timeout`` outranks it.
    dependency_timeout: float = 86400.0
    #: Seconds that the store remembers tasks that have ended; None: ``result_expires``.
    gate_keep: float | None = None
    #: Seconds between two looks over the store, for what ended on other pools or was left
    #: behind by a crash.
    gate_sweep_interval: float = 5.0
    #: Seconds after which a task that was released, and did not get to the broker, is released
    #: again.
    gate_lease: float = 30.0
    #: Times that a task may kill its child until it is not run again; None: no limit.
    max_crashes_per_task: int | None = 3
    #: Modules that register handlers of task types, by dotted name or as paths of .py files.
    handler_modules: tuple[str, ...] = ()
    #: Folders outside of which handlers open no file; None: no limit.
    file_roots: tuple[str, ...] | None = None
    #: Modules whose functions CUSTOM tasks may name; "package.*" for all below one.
    custom_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check("priority_aging", above=0.0)
        self._check("memory_sample_interval", at_least=0.01)
        self._check("memory_kill_ratio", at_least=1.0, optional=True)
        self._check("start_timeout", above=0.0, optional=True)
        self._check("terminate_grace", at_least=0.0)
        self._check_url("gate_store")
        self._check("dependency_timeout", above=0.0)
        self._check("gate_keep", above=0.0, optional=True)
        self._check("gate_sweep_interval", at_least=0.1)
        self._check("gate_lease", at_least=0.1)
        self._check_count("max_crashes_per_task", at_least=1, optional=True)
        self._check_names("handler_modules")
        self._check_names("file_roots", optional=True)
        self._check_names("custom_modules")

    @classmethod
    def from_mapping(cls, conf: Mapping[str, object]) -> Settings:
        """Pick the ``workerpool_*`` keys out of a Celery configuration (lower-case keys).

        Raises:
            SettingsError: also for a ``workerpool_*`` key that does not exist.
        """
        known = {field.name for field in fields(cls)}
        given = {k.removeprefix(PREFIX): v for k, v in conf.items() if k.startswith(PREFIX)}
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
                names = ", ".join(PREFIX + n for n in sorted(known))
                raise SettingsError(PREFIX + name, given[name], f"one of {names}{hint}")
        return cls(**given)  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    def of_app(cls, app: Any) -> Settings:
        """Those of a Celery app, whatever the spelling of its keys.

        With a namespace (Django's ``CELERY_WORKERPOOL_…``) Celery finds a key when it is asked
        for, but lists it as it was written.

        Raises:
            SettingsError: as :meth:`from_mapping`.
        """
        conf = app.conf
        namespace = str(getattr(conf, "prefix", None) or "").lower()
        lowered = ((str(key).lower().removeprefix(namespace), key) for key in conf)
        return cls.from_mapping(
            {name: conf[key] for name, key in lowered if name.startswith(PREFIX)}
        )

    def _check(
        self,
        name: str,
        *,
        above: float | None = None,
        at_least: float | None = None,
        optional: bool = False,
    ) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        bound = f"above {above:g}" if above is not None else f"of at least {at_least:g}"
        expected = f"a number {bound}" + (" or None" if optional else "")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingsError(PREFIX + name, value, expected)
        in_range = value > above if above is not None else value >= (at_least or 0.0)
        if not in_range or not math.isfinite(value):
            raise SettingsError(PREFIX + name, value, expected)

    def _check_url(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and (not isinstance(value, str) or "://" not in value):
            raise SettingsError(PREFIX + name, value, "a URL or None")

    def _check_count(
        self, name: str, *, at_least: int, at_most: int | None = None, optional: bool = False
    ) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        expected = f"a whole number of at least {at_least}"
        expected += f", at most {at_most}" if at_most is not None else ""
        expected += " or None" if optional else ""
        right = isinstance(value, int) and not isinstance(value, bool) and value >= at_least
        if not right or (at_most is not None and value > at_most):
            raise SettingsError(PREFIX + name, value, expected)

    def _check_names(self, name: str, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        names = () if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
        if isinstance(value, str) or not all(isinstance(item, str) and item for item in names):
            raise SettingsError(PREFIX + name, value, "a list of text")
        object.__setattr__(self, name, names)
