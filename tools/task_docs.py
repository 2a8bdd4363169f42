"""Writes the tables of ``docs/task-types``: what each operation takes and returns.

    python -m tools.task_docs

Everything below the marker of a page is made from the models; above it is written by hand.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
import typing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from celery_workerpool import WorkerTaskType

PAGES = Path(__file__).resolve().parents[1] / "docs" / "task-types"
MARKER = "<!-- Below: made by `python -m tools.task_docs`. -->\n"


def main() -> None:
    """Write all pages anew."""
    for kind in WorkerTaskType:
        path = page(kind)
        path.write_text(renewed(kind, path.read_text()))


def page(kind: WorkerTaskType) -> Path:
    """Where the page of a type is."""
    return PAGES / f"{kind.value.lower().replace('_', '-')}.md"


def renewed(kind: WorkerTaskType, text: str) -> str:
    """The page with its tables made anew."""
    head, _, _ = text.partition(MARKER)
    module = importlib.import_module(f"celery_workerpool.handlers.{kind.value.lower()}")
    parts = [head.rstrip() + "\n\n" + MARKER]
    shown: list[Any] = []
    for model in module.MODELS:
        parts.append(_model(model))
        if model.RESULT is not None and model.RESULT not in shown:
            parts += [_record(record) for record in _records(model.RESULT) if record not in shown]
            shown += _records(model.RESULT)
    return "\n".join(parts)


def _model(model: Any) -> str:
    operation = _operation(model)
    title = f"## `{operation[1]}`" if operation else f"## {model.__name__}"
    fields = _fields(model)
    if operation:
        fields = {name: row for name, row in fields.items() if name != operation[0]}
    lines = [title, "", inspect.getdoc(model) or "", ""]
    if operation:
        default = " (the default)" if _is_default(model) else ""
        lines += [f'Chosen by `"{operation[0]}": "{operation[1]}"`{default}.', ""]
    lines += ["| field | type | default | |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(row)} |" for name, row in fields.items()]
    if model.RESULT is not None:
        lines += ["", f"Returns: {model.RESULT.__name__}."]
    return "\n".join([*lines, ""])


def _record(record: Any) -> str:
    schema = TypeAdapter(record).json_schema()
    words = _words(record)
    lines = [f"### {record.__name__}", "", inspect.getdoc(record) or "", ""]
    lines += ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        there = "" if name in schema.get("required", ()) else ", not always there"
        lines.append(f"| `{name}` | {_kind(field)}{there} | {words[name]} |")
    return "\n".join([*lines, ""])


def _records(record: Any) -> list[Any]:
    """A record, and those that it holds."""
    found = [record]
    for annotation in typing.get_type_hints(record).values():
        found += [part for part in _parts(annotation) if part not in found]
    return found


def _parts(annotation: Any) -> list[Any]:
    if hasattr(annotation, "__required_keys__"):
        return _records(annotation)
    return [part for arg in getattr(annotation, "__args__", ()) for part in _parts(arg)]


def _fields(model: Any) -> dict[str, list[str]]:
    schema = model.model_json_schema(by_alias=False)
    words = _words(model)
    rows = {}
    for name, field in schema["properties"].items():
        default = model.model_fields[name].get_default(call_default_factory=True)
        required = model.model_fields[name].is_required()
        text = "required" if required else "" if default is None else f"`{_literal(default)}`"
        rows[name] = [_kind(field), text, words.get(name, "")]
    return rows


def _literal(value: Any) -> str:
    text = repr(value) if isinstance(value, bytes) else str(value)
    return f'"{value}"' if isinstance(value, str) else text.replace("'", '"')


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema or "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema.get("enum", [schema.get("const")]))
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_kind(o) for o in options if o != {"type": "null"}))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "anything")
    match kind:
        case "array":
            inner = _kind(schema.get("items", {}))
            kind = "list" if inner == "anything" else f"list of {inner}"
        case "object":
            values = schema.get("additionalProperties")
            kind = f"object of {_kind(values)}" if isinstance(values, dict) else "object"
        case "string":
            kind = "bytes" if schema.get("format") == "binary" else "text"
    return str(kind) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        above = f", above {schema['exclusiveMinimum']:g}"
        return above + (f", at most {high:,}" if high is not None else "")
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    return f", at least {low:,}" if low is not None else ""


def _operation(model: Any) -> tuple[str, str] | None:
    """The field that chooses this model, and its value."""
    for name in ("operation", "analysis_type", "computation"):
        if name in model.model_fields:
            return name, model.model_fields[name].default
    return None


def _is_default(model: Any) -> bool:
    return _operation(model) in {
        ("operation", "collect"),
        ("operation", "compress"),
        ("analysis_type", "statistical"),
    }


def _words(cls: Any) -> dict[str, str]:
    """What stands below each field in the source, on one line."""
    found: dict[str, str] = {}
    bases = getattr(cls, "__orig_bases__", ()) if hasattr(cls, "__required_keys__") else cls.__mro__
    for base in [*bases, cls]:
        if not getattr(base, "__module__", "").startswith("celery_workerpool."):
            continue
        if base is not cls and hasattr(base, "__required_keys__"):
            found |= _words(base)
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        if isinstance(body, ast.ClassDef):
            found |= _documented(body)
    return found


def _documented(body: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = " ".join(words.split())
    return found


if __name__ == "__main__":
    main()
