"""A small language for conditions and new columns: ``"price * quantity > 100 and paid"``.

Python's syntax for numbers, strings, names of columns, arithmetic, comparisons, ``and or not``,
``in [..]``, ``a if condition else b`` and the functions below. The text is parsed, looked
through and translated to polars; nothing of it is ever executed as Python.

    value      column        col("unit price")   a column whose name is no Python name
    abs round floor ceil sqrt log exp lower upper strip length contains starts_with ends_with
    is_null coalesce         of one row
    count sum mean min max median std first last n_unique quantile       of a group or the table
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

LONGEST = 1000
DEEPEST = 40

#: Name: (fewest, most) arguments.
ROW_FUNCTIONS = {
    **dict.fromkeys(("abs", "floor", "ceil", "sqrt", "log", "exp", "is_null"), (1, 1)),
    **dict.fromkeys(("lower", "upper", "strip", "length"), (1, 1)),
    **dict.fromkeys(("contains", "starts_with", "ends_with"), (2, 2)),
    "col": (1, 1),
    "round": (1, 2),
    "coalesce": (1, 20),
}
GROUP_FUNCTIONS = {
    **dict.fromkeys(("sum", "mean", "min", "max", "median", "std"), (1, 1)),
    **dict.fromkeys(("first", "last", "n_unique"), (1, 1)),
    "count": (0, 0),
    "quantile": (2, 2),
}
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ALLOWED = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Compare,
    ast.In, ast.NotIn, ast.IfExp, ast.Call, ast.Constant, ast.Name,
    *_OPERATORS,
)  # fmt: skip


def parse(text: str, *, groups: bool = False) -> ast.expr:
    """Parse an expression and look through all of it; needs no polars.

    Args:
        text: The expression.
        groups: Whether functions of a group (``sum``, ``count``) may be used.

    Raises:
        ValueError: says what is not understood.
    """
    if len(text) > LONGEST:
        raise ValueError(f"an expression of at most {LONGEST} characters")
    if "\\" in text:
        raise ValueError("an expression without backslashes")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as exc:
        place = f" (at character {exc.offset})" if exc.offset else ""
        raise ValueError(f"an expression such as 'value > 10'; {exc.msg}{place}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("a less deeply nested expression") from None
    functions = ROW_FUNCTIONS | GROUP_FUNCTIONS if groups else ROW_FUNCTIONS
    level = [tree]
    for _ in range(DEEPEST):
        for node in level:
            _check(node, functions, groups)
        level = [child for node in level for child in _operands(node)]
        if not level:
            return tree
    raise ValueError("a less deeply nested expression")


def columns(tree: ast.expr) -> list[str]:
    """The columns that an expression uses, in their order."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found = {}
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Name) and id(node) not in called:
            found[node.id] = True
        elif isinstance(node, ast.Call) and _name(node) == "col":
            found[str(_constant(node.args[0]))] = True
    return list(found)


def translate(tree: ast.expr) -> pl.Expr:
    """The polars expression of what :func:`parse` returned."""
    import polars as pl

    match tree:
        case ast.Constant(value):
            return pl.lit(value)
        case ast.Name(name):
            return pl.col(name)
        case ast.UnaryOp(ast.Not(), operand):
            return ~translate(operand)
        case ast.UnaryOp(sign, operand):
            return -translate(operand) if isinstance(sign, ast.USub) else translate(operand)
        case ast.BinOp(left, op, right):
            return _expr(_OPERATORS[type(op)](translate(left), translate(right)))
        case ast.BoolOp(word, values):
            parts = [translate(value) for value in values]
            join = pl.all_horizontal if isinstance(word, ast.And) else pl.any_horizontal
            return join(parts)
        case ast.IfExp(condition, then, otherwise):
            return (
                pl.when(translate(condition)).then(translate(then)).otherwise(translate(otherwise))
            )
        case ast.Compare():
            return _compare(tree)
        case ast.Call():
            return _call(tree)
    raise ValueError("an expression")  # parse() lets nothing else through.


def _operands(node: ast.AST) -> list[ast.expr]:
    """What a node is made of; the name of a function is no column, a list no value."""
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Compare):
        lists = [item for right in node.comparators if _is_list(right) for item in right.elts]  # type: ignore[attr-defined]
        return [node.left, *lists, *(right for right in node.comparators if not _is_list(right))]
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _check(node: ast.AST, functions: dict[str, tuple[int, int]], groups: bool) -> None:
    if not isinstance(node, _ALLOWED):
        raise ValueError(f"an expression without {_describe(node)}")
    match node:
        case ast.UnaryOp(op) | ast.BinOp(op=op) if not isinstance(op, _ALLOWED):
            raise ValueError(f"an expression without {_describe(op)}")
        case ast.Compare():
            for test, right in zip(node.ops, node.comparators, strict=True):
                if not isinstance(test, _ALLOWED):
                    raise ValueError(f"an expression without {_describe(test)}")
                if isinstance(test, ast.In | ast.NotIn) and not _is_list(right):
                    raise ValueError("a list of constants after 'in'")
        case ast.Constant(value):
            if not isinstance(value, int | float | str | None):
                raise ValueError(f"numbers, strings, True, False or None, not {value!r}")
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError("whole numbers of 64 bits")
        case ast.Call():
            _check_call(node, functions, groups)


def _check_call(node: ast.Call, functions: dict[str, tuple[int, int]], groups: bool) -> None:
    name = _name(node)
    if name not in functions:
        where = " or ".join(["a row", *(["a group"] if groups else [])])
        known = ", ".join(sorted(functions))
        raise ValueError(f"functions of {where} ({known}), not {name or 'a call'}()")
    fewest, most = functions[name]
    if node.keywords or not fewest <= len(node.args) <= most:
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise ValueError(f"{name}() with {count} arguments")
    constants = {"col": (0, str), "round": (1, int), "quantile": (1, float | int)}
    if name in constants:
        place, kind = constants[name]
        if len(node.args) > place and not isinstance(_constant(node.args[place]), kind):
            raise ValueError(f"{name}() with a constant as argument {place + 1}")


def _compare(tree: ast.Compare) -> pl.Expr:
    import polars as pl

    parts = []
    left = tree.left
    for op, right in zip(tree.ops, tree.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            found = translate(left).is_in([_constant(item) for item in right.elts])  # type: ignore[attr-defined]
            parts.append(~found if isinstance(op, ast.NotIn) else found)
        elif isinstance(right, ast.Constant) and right.value is None:
            null = translate(left).is_null()
            parts.append(null if isinstance(op, ast.Eq) else ~null)
        else:
            parts.append(_expr(_OPERATORS[type(op)](translate(left), translate(right))))
        left = right
    return parts[0] if len(parts) == 1 else pl.all_horizontal(parts)


def _call(node: ast.Call) -> pl.Expr:
    import polars as pl

    name = _name(node)
    if name == "count":
        return pl.len()
    if name == "col":
        return pl.col(str(_constant(node.args[0])))
    if name == "coalesce":
        return pl.coalesce([translate(arg) for arg in node.args])
    of = translate(node.args[0])
    rest = [_constant(arg) for arg in node.args[1:]]
    match name:
        case "lower" | "upper":
            return _expr(getattr(of.str, f"to_{name}case")())
        case "strip":
            return of.str.strip_chars()
        case "length":
            return of.str.len_chars()
        case "contains":
            return of.str.contains(translate(node.args[1]), literal=True)
        case "starts_with" | "ends_with":
            return _expr(getattr(of.str, name)(translate(node.args[1])))
        case _:
            return _expr(getattr(of, str(name))(*rest))


def _expr(value: Any) -> pl.Expr:
    """Names the type of what an operator or a looked-up method returns."""
    expr: pl.Expr = value
    return expr


def _is_list(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple) and all(
        _constant(item) is not None for item in node.elts
    )


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if isinstance(value, int | float) else None
    return node.value if isinstance(node, ast.Constant) else None


def _name(node: ast.Call) -> str | None:
    return node.func.id if isinstance(node.func, ast.Name) else None


def _describe(node: ast.AST) -> str:
    names = {"Pow": "'**'", "Attribute": "a dot", "Subscript": "[…]", "Is": "'is'"}
    kind = type(node).__name__
    return names.get(kind, kind)
