"""The parts that payload models are made of. Imports pydantic."""

from __future__ import annotations

import functools
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from ..errors import PathRefused
from .files import Files
from .libraries import Library


class Payload(BaseModel):
    """Base of the payloads: every name also in camelCase, unknown names refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        loc_by_alias=False,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _know_every_name(cls, payload: Any) -> Any:
        """Pydantic would say that a name is unknown, but not which name may be meant."""
        if not isinstance(payload, Mapping):
            return payload
        for name in payload:
            if name not in _known(cls):
                fields = [field for field in cls.model_fields if field not in payload]
                detail = {"name": name, "fields": list(cls.model_fields), "free": fields}
                raise PydanticCustomError("unknown_field", "unknown field", detail)
        return payload

    def libraries(self) -> tuple[Library, ...]:
        """What must be installed to run this payload."""
        return ()

    def lacking(self, dependencies: Collection[str]) -> tuple[str, str] | None:
        """What is wrong where the task waits for these: a field and what is expected of it.

        The field is ``""`` for the whole payload; None: nothing is wrong.
        """
        return None


def confined(path: str, info: ValidationInfo, key: bool = False) -> str:
    files = (info.context or {}).get("files", Files())
    try:
        files.check(path, key=key)
    except PathRefused as exc:
        raise ValueError(f"a path that may be used: {exc}") from None
    return path


def _text(path: object) -> object:
    # Pydantic would take bytes for a text; a path object must not differ on its way.
    if isinstance(path, bytes | bytearray):
        raise ValueError("a path, not bytes")
    return str(path) if hasattr(path, "__fspath__") else path


def wrong(field: str, expected: str) -> PydanticCustomError:
    """For validators of a whole model: the error of one of its fields."""
    return PydanticCustomError("wrong_field", "wrong", {"field": field, "expected": expected})


#: A path that the settings allow; whether the file exists only the worker can know.
FilePath = Annotated[str, BeforeValidator(_text), AfterValidator(confined)]


def one_of(field: str, *models: type[Payload], default: str | None = None) -> Any:
    """The model whose ``field`` (a ``Literal``) has the value in the payload."""
    values = [typing.get_args(model.model_fields[field].annotation) for model in models]
    # The "=" tells a tag from a field where pydantic says which place is wrong.
    tags = {value: f"{field}={group[0]}" for group in values for value in group}
    names = spellings(models[0], field)

    def tag(payload: Any) -> str | None:
        if isinstance(payload, Mapping):
            value = next((payload[name] for name in names if name in payload), default)
        else:
            value = getattr(payload, field, None)
        return tags.get(value) if isinstance(value, str) else None

    tagged = tuple(
        Annotated[model, Tag(tags[group[0]])] for model, group in zip(models, values, strict=True)
    )
    choice = Discriminator(
        tag,
        custom_error_type="unknown_choice",
        custom_error_message="unknown choice",
        custom_error_context={"names": ",".join(names), "choices": ",".join(tags)},
    )
    return Annotated[typing.Union[tagged], choice]  # noqa: UP007  # made from a list


@functools.cache
def _known(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for field in model.model_fields for name in spellings(model, field))


def spellings(model: type[BaseModel], field: str) -> list[str]:
    """The names that a payload may use for a field."""
    info = model.model_fields[field]
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return [name for name in alias.choices if isinstance(name, str)]
    return [field, alias] if isinstance(alias, str) and alias != field else [field]
