"""A configuration that the worker refuses to start with, told in one line."""

from __future__ import annotations

from click import ClickException

from ..errors import SettingsError


class ConfigurationRefused(SettingsError, ClickException):
    """A wrong setting, as Celery's command line shows errors: one line and no traceback."""

    def __init__(self, error: SettingsError) -> None:
        ClickException.__init__(self, str(error))
        SettingsError.__init__(self, error.setting, error.value, error.expected)
