"""IMAGE_MANIPULATION: resize, thumbnail, crop, rotate, convert and filter, with Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, Strict, ValidationInfo, model_validator

from ..errors import TaskDataError
from ..types import WorkerTaskType
from .context import TaskContext
from .libraries import PILLOW, Library
from .outputs import Written
from .payload import FilePath, Payload, confined, one_of, wrong
from .pictures import ENDINGS, ImageFormat, check_pixels, flat, format_of, open_image, write_image
from .registry import built_in

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
LONGEST_SIDE = 30_000
Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
FilterName = Literal[
    "blur", "sharpen", "smooth", "detail", "contour", "edges", "emboss", "grayscale", "invert",
    "autocontrast", "equalize",
]  # fmt: skip


def _image(image: str | bytes, info: ValidationInfo) -> str | bytes:
    return confined(image, info) if isinstance(image, str) else image


class Picture(Written):
    """What every operation returns, beside where the bytes went."""

    format: str
    """Format that was written."""
    mode: str
    """Pillow's name of the pixels: `RGB`, `RGBA`, `L`."""
    width: int
    """Pixels across, of the result."""
    height: int
    """Pixels down, of the result."""
    original_width: int
    """Pixels across, as the image is to be looked at."""
    original_height: int
    """Pixels down, as the image is to be looked at."""


class Edit(Payload):
    """An image, and where it goes."""

    RESULT: ClassVar[Any] = Picture

    image: Annotated[Annotated[str, Strict()] | bytes, AfterValidator(_image)] = Field(repr=False)
    """A path, or the bytes of an image: JPEG, PNG, WebP, GIF (its first frame), BMP, TIFF."""
    output: FilePath | None = None
    """A file to write; None returns the bytes in the result."""
    format: ImageFormat | None = None
    """Format to write; None: what `output` ends in, else the format that came."""
    quality: int = Field(85, ge=1, le=100)
    """Of JPEG and WebP."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Largest image to open or to make, in pixels."""

    @model_validator(mode="after")
    def _known_output(self) -> Self:
        if self.output is not None and self.format is None and not format_of(self.output):
            endings = ", .".join(ENDINGS)
            raise wrong("output", f"a name that ends in .{endings}, or a format beside it")
        return self

    def libraries(self) -> tuple[Library, ...]:
        return (PILLOW,)

    def edit(self, image: Image) -> Image:
        """The image after the operation; it comes upright."""
        raise NotImplementedError


class Resize(Edit):
    """Give an image another size."""

    operation: Literal["resize"] = "resize"
    width: Side | None = None
    """Pixels; None follows from the height and the image's proportions."""
    height: Side | None = None
    """Pixels; None follows from the width and the image's proportions."""
    fit: Literal["stretch", "contain", "cover"] = "stretch"
    """With both: exactly so, as large as fits inside, or filled and cut to it."""

    @model_validator(mode="after")
    def _some_size(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("width, height or both for a resize")
        if (self.width or 1) * (self.height or 1) > self.max_pixels:
            raise wrong("width", f"at most {self.max_pixels} pixels in all (max_pixels)")
        return self

    def edit(self, image: Image) -> Image:
        from PIL import ImageOps
        from PIL.Image import Resampling

        width = self.width or max(1, round(image.width * (self.height or 1) / image.height))
        height = self.height or max(1, round(image.height * (self.width or 1) / image.width))
        check_pixels(width, height, self.max_pixels)
        if self.fit == "cover":
            return ImageOps.fit(image, (width, height), Resampling.LANCZOS)
        if self.fit == "contain":
            return ImageOps.contain(image, (width, height), Resampling.LANCZOS)
        return image.resize((width, height), Resampling.LANCZOS)


class Thumbnail(Edit):
    """Make an image fit inside a size, in its proportions; never larger than it is."""

    operation: Literal["thumbnail"] = "thumbnail"
    width: Side = 256
    """Most pixels across."""
    height: Side = 256
    """Most pixels down."""

    def edit(self, image: Image) -> Image:
        from PIL.Image import Resampling

        image.thumbnail((self.width, self.height), Resampling.LANCZOS)
        return image


class Crop(Edit):
    """Cut a rectangle out; it must lie inside the image."""

    operation: Literal["crop"] = "crop"
    left: int = Field(0, ge=0)
    """Pixels left out on the left."""
    top: int = Field(0, ge=0)
    """Pixels left out at the top."""
    width: Side
    """Pixels across."""
    height: Side
    """Pixels down."""

    def edit(self, image: Image) -> Image:
        right, bottom = self.left + self.width, self.top + self.height
        if right > image.width or bottom > image.height:
            raise TaskDataError(
                f"the rectangle ends at {right} x {bottom}, "
                f"and the image at {image.width} x {image.height}"
            )
        return image.crop((self.left, self.top, right, bottom))


class Rotate(Edit):
    """Turn an image clockwise."""

    operation: Literal["rotate"] = "rotate"
    angle: float
    """Degrees; multiples of 90 lose nothing."""
    expand: bool = True
    """Whether the image grows so that no corner is lost."""
    fill: str = "white"
    """Colour of the new corners, where the image is not transparent."""

    def edit(self, image: Image) -> Image:
        from PIL.Image import Resampling

        fill = None if image.mode in {"RGBA", "LA"} else self._colour(image.mode)
        resample = Resampling.NEAREST if self.angle % 90 == 0 else Resampling.BICUBIC
        return image.rotate(-self.angle, resample, expand=self.expand, fillcolor=fill)

    def _colour(self, mode: str) -> Any:
        from PIL import ImageColor

        try:
            return ImageColor.getcolor(self.fill, mode)
        except ValueError:
            raise TaskDataError(f"fill = {self.fill!r} is no colour") from None


class Convert(Edit):
    """Write an image in another format or with other pixels."""

    operation: Literal["convert"] = "convert"
    mode: Literal["RGB", "RGBA", "L"] | None = None
    """Pixels: colour, colour with transparency, grey; None keeps what came."""

    def edit(self, image: Image) -> Image:
        if self.mode is None or self.mode == image.mode:
            return image
        return image.convert(self.mode) if self.mode == "RGBA" else flat(image, self.mode)


class Filter(Edit):
    """Change how an image looks."""

    operation: Literal["filter"] = "filter"
    filter: FilterName
    """What to do."""
    radius: float = Field(2.0, gt=0, le=250)
    """Pixels, of a `blur`."""

    def edit(self, image: Image) -> Image:
        alpha = image.getchannel("A") if image.mode in {"RGBA", "LA"} else None
        colour = image if alpha is None else image.convert("RGB" if image.mode == "RGBA" else "L")
        filtered = self._make()(colour)
        if alpha is not None:
            filtered.putalpha(alpha)
        return filtered

    def _make(self) -> Callable[[Image], Image]:
        from PIL import ImageFilter, ImageOps

        kernels = {
            "sharpen": ImageFilter.SHARPEN,
            "smooth": ImageFilter.SMOOTH,
            "detail": ImageFilter.DETAIL,
            "contour": ImageFilter.CONTOUR,
            "edges": ImageFilter.FIND_EDGES,
            "emboss": ImageFilter.EMBOSS,
        }
        if self.filter in kernels:
            return lambda image: image.filter(kernels[self.filter])
        if self.filter == "blur":
            return lambda image: image.filter(ImageFilter.GaussianBlur(self.radius))
        return {
            "grayscale": ImageOps.grayscale,
            "invert": ImageOps.invert,
            "autocontrast": ImageOps.autocontrast,
            "equalize": ImageOps.equalize,
        }[self.filter]


MODELS = (Resize, Thumbnail, Crop, Rotate, Convert, Filter)


@built_in(WorkerTaskType.IMAGE_MANIPULATION, payload=one_of("operation", *MODELS))
def edit(payload: Edit, ctx: TaskContext) -> Picture:
    """Open, turn upright (EXIF), edit and write an image.

    The colour profile is kept; other metadata (EXIF, with its places and times) is not.

    Raises:
        TaskDataError: it is no image of the known formats, is damaged or too large.
    """
    ctx.progress(0, "opening")
    if isinstance(payload.image, str):
        with ctx.files.open(payload.image) as file:
            image, format = open_image(file, payload.max_pixels)
    else:
        image, format = open_image(io.BytesIO(payload.image), payload.max_pixels)
    ctx.check()
    ctx.progress(40, "editing")
    profile = image.info.get("icc_profile")
    original = image.size
    edited = payload.edit(image)
    ctx.check()
    ctx.progress(70, "writing")
    target = payload.format or (format_of(payload.output) if payload.output else None) or format
    if target in {"jpeg", "bmp"}:
        edited = flat(edited, "L" if edited.mode in {"L", "LA"} else "RGB")
    colours = profile if edited.mode in {"RGB", "RGBA"} else None
    written = write_image(edited, payload.output, target, payload.quality, colours, ctx)
    ctx.progress(100, "done")
    return {
        **written,
        "format": target,
        "mode": edited.mode,
        "width": edited.width,
        "height": edited.height,
        "original_width": original[0],
        "original_height": original[1],
    }
