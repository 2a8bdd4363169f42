"""COMPUTATION: matrix products, Monte Carlo estimates, primes, and merges of other results."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NotRequired, Self

from pydantic import AliasChoices, Field, model_validator
from typing_extensions import TypedDict

from ..errors import TaskDataError
from ..types import WorkerTaskType
from .context import Meter, TaskContext
from .libraries import NUMPY, Library
from .payload import Payload, one_of, wrong
from .plain import plain
from .registry import built_in

if TYPE_CHECKING:
    import numpy as np

Matrix = Annotated[list[list[float]], Field(min_length=1, max_length=4000)]
_NAMES = AliasChoices("computation", "operation", "type")
_BLOCK = 1 << 20
_ROWS = 256


class Product(TypedDict):
    """What `matrix_product` returns."""

    rows: int
    """Of the product."""
    columns: int
    """Of the product."""
    trace: float | None
    """Sum of the diagonal, where the product is square."""
    norm: float | None
    """Square root of the sum of all squares; `null` beyond the range of floats."""
    matrix: NotRequired[list[list[float | None]]]
    """The product, where `a` and `b` were given."""


class Estimate(TypedDict):
    """What `monte_carlo` returns."""

    estimate: float
    """The value."""
    standard_error: float
    """Its standard error."""
    samples: int
    """As it was given."""
    seed: int
    """As it was given."""


class Primes(TypedDict):
    """What `primes` returns."""

    count: int
    """Primes up to `limit`."""
    largest: int | None
    """The last of them."""
    primes: list[int]
    """The last `keep` of them, in order."""


class Merged(TypedDict):
    """What `merge_results` returns."""

    tasks: list[str]
    """Ids of the tasks, in order."""
    count: int
    """Their number."""
    data: list[Any]
    """The `data` of all results that have such a list, and results that are lists, joined."""
    results: dict[str, Any]
    """Each result by its task's id; without the lists that are in `data`."""


class _Computation(Payload):
    def libraries(self) -> tuple[Library, ...]:
        return (NUMPY,)


class MatrixProduct(_Computation):
    """Product of two matrices: those given, or two random ones."""

    RESULT: ClassVar[Any] = Product

    computation: Literal["matrix_product"] = Field(
        default="matrix_product", validation_alias=_NAMES
    )
    a: Matrix | None = None
    """Left matrix, row by row."""
    b: Matrix | None = None
    """Right matrix, row by row; as many rows as `a` has columns."""
    size: int = Field(256, ge=1, le=8192)
    """Rows and columns of the random matrices."""
    seed: int = Field(0, ge=0)
    """The same seed gives the same matrices."""

    @model_validator(mode="after")
    def _they_fit(self) -> Self:
        if (self.a is None) != (self.b is None):
            raise wrong("b" if self.b is None else "a", "both a and b, or neither")
        for name, matrix in (("a", self.a), ("b", self.b)):
            lengths = {len(row) for row in matrix or [[0.0]]}
            if len(lengths) != 1 or 0 in lengths:
                raise wrong(name, "rows of one length, and none that is empty")
        if self.a is not None and self.b is not None and len(self.a[0]) != len(self.b):
            raise wrong("b", f"{len(self.a[0])} rows, as many as a has columns")
        return self


class MonteCarlo(_Computation):
    """Estimate a number from random samples."""

    RESULT: ClassVar[Any] = Estimate

    computation: Literal["monte_carlo"] = Field(default="monte_carlo", validation_alias=_NAMES)
    quantity: Literal["pi", "normal_mean"] = "pi"
    """`pi`: from points in a square; `normal_mean`: mean of normal numbers."""
    samples: int = Field(1_000_000, ge=2, le=10**11)
    """Number of samples."""
    seed: int = Field(0, ge=0)
    """The same seed gives the same estimate."""
    mean: float = 0.0
    """Of the normal numbers."""
    deviation: float = Field(1.0, ge=0)
    """Standard deviation of the normal numbers."""


class PrimeSieve(_Computation):
    """Primes up to a limit, by a segmented sieve."""

    RESULT: ClassVar[Any] = Primes

    computation: Literal["primes"] = Field(default="primes", validation_alias=_NAMES)
    limit: int = Field(ge=0, le=10**11)
    """Largest number to look at."""
    keep: int = Field(10, ge=0, le=100_000)
    """Primes to return, counted from the largest."""


class MergeResults(Payload):
    """Join the results of other tasks."""

    RESULT: ClassVar[Any] = Merged

    computation: Literal["merge_results"] = Field(default="merge_results", validation_alias=_NAMES)
    tasks: list[str] | None = None
    """Ids of the tasks, which must be in `dependencies`; None takes all of these."""

    def lacking(self, dependencies: Collection[str]) -> tuple[str, str] | None:
        return without_results(self.tasks, dependencies)


MODELS = (MatrixProduct, MonteCarlo, PrimeSieve, MergeResults)


@built_in(WorkerTaskType.COMPUTATION, payload=one_of("computation", *MODELS))
def compute(payload: Any, ctx: TaskContext) -> Any:
    """Run one computation."""
    match payload:
        case MatrixProduct():
            return _product(payload, ctx)
        case MonteCarlo():
            return _monte_carlo(payload, ctx)
        case PrimeSieve():
            return _primes(payload, ctx)
    return _merge(payload, ctx)


def without_results(
    wanted: Collection[str] | None, dependencies: Collection[str]
) -> tuple[str, str] | None:
    """What is wrong with a payload that takes the results of these tasks, of all if None."""
    if not dependencies:
        return "", "tasks in dependencies, whose results it takes"
    if wanted is None or set(wanted) <= set(dependencies):
        return None
    return "tasks", "ids of tasks that are in dependencies"


def dependencies(wanted: list[str] | None, ctx: TaskContext) -> dict[str, Any]:
    """The results of the tasks named, in that order, or of all dependencies.

    Raises:
        TaskDataError: a task was named that is no dependency.
    """
    if wanted is None:
        return dict(ctx.dependency_results)
    for task in wanted:
        if task not in ctx.dependency_results:
            raise TaskDataError(f"no result of task {task!r}: it must be in dependencies=")
    return {task: ctx.dependency_results[task] for task in wanted}


def _product(payload: MatrixProduct, ctx: TaskContext) -> Product:
    import numpy as np

    if payload.a is not None and payload.b is not None:
        a, b = np.array(payload.a, float), np.array(payload.b, float)
    else:
        random = np.random.default_rng(payload.seed)
        a, b = (random.standard_normal((payload.size, payload.size)) for _ in range(2))
    meter = Meter(ctx, len(a), "multiplying")
    product = np.empty((len(a), b.shape[1]))
    for row in range(0, len(a), _ROWS):
        with np.errstate(over="ignore", invalid="ignore"):
            product[row : row + _ROWS] = a[row : row + _ROWS] @ b
        meter.advance(min(_ROWS, len(a) - row))
    rows, columns = product.shape
    with np.errstate(over="ignore", invalid="ignore"):
        trace, norm = float(product.trace()), float(np.linalg.norm(product))
    result: Product = {
        "rows": rows,
        "columns": columns,
        "trace": plain(trace) if rows == columns else None,
        "norm": plain(norm),
    }
    if payload.a is not None:
        result["matrix"] = plain(product.tolist())
    return result


def _monte_carlo(payload: MonteCarlo, ctx: TaskContext) -> Estimate:
    import numpy as np

    random = np.random.default_rng(payload.seed)
    meter = Meter(ctx, payload.samples, "sampling")
    total = squares = 0.0
    left = payload.samples
    while left:
        size = min(_BLOCK, left)
        if payload.quantity == "pi":
            x, y = random.random(size), random.random(size)
            values = 4.0 * (x * x + y * y <= 1.0)
        else:
            values = random.standard_normal(size)
        total += float(values.sum())
        squares += float((values * values).sum())
        left -= size
        meter.advance(size)
    mean = total / payload.samples
    variance = max(0.0, squares - payload.samples * mean * mean) / (payload.samples - 1)
    error = math.sqrt(variance / payload.samples)
    if payload.quantity == "normal_mean":
        mean, error = payload.mean + payload.deviation * mean, payload.deviation * error
    return {
        "estimate": mean,
        "standard_error": error,
        "samples": payload.samples,
        "seed": payload.seed,
    }


def _primes(payload: PrimeSieve, ctx: TaskContext) -> Primes:
    import numpy as np

    meter = Meter(ctx, payload.limit + 1, "sieving")
    base = np.flatnonzero(_small(math.isqrt(payload.limit)))
    count = 0
    largest: int | None = None
    kept: list[int] = []
    for low in range(0, payload.limit + 1, _BLOCK):
        high = min(low + _BLOCK, payload.limit + 1)
        segment = np.ones(high - low, bool)
        segment[: max(0, 2 - low)] = False
        for prime in base[base * base < high].tolist():
            first = max(prime * prime, -(-low // prime) * prime)
            segment[first - low :: prime] = False
        found = np.flatnonzero(segment) + low
        count += len(found)
        largest = int(found[-1]) if len(found) else largest
        if payload.keep:
            kept = (kept + found[-payload.keep :].tolist())[-payload.keep :]
        meter.advance(high - low)
    return {"count": count, "largest": largest, "primes": kept}


def _small(limit: int) -> np.typing.NDArray[np.bool_]:
    import numpy as np

    sieve = np.ones(max(2, limit + 1), bool)
    sieve[:2] = False
    for n in range(2, math.isqrt(limit) + 1):
        if sieve[n]:
            sieve[n * n :: n] = False
    return sieve


def _merge(payload: MergeResults, ctx: TaskContext) -> Merged:
    found = dependencies(payload.tasks, ctx)
    data: list[Any] = []
    results: dict[str, Any] = {}
    for task, result in found.items():
        if isinstance(result, list):
            data += result
            results[task] = {"count": len(result)}
        elif isinstance(result, dict) and isinstance(result.get("data"), list):
            data += result["data"]
            results[task] = {name: value for name, value in result.items() if name != "data"}
        else:
            results[task] = result
        ctx.check()
    ctx.progress(100, "merged")
    return {"tasks": list(found), "count": len(found), "data": data, "results": results}
