"""Opening and writing images with Pillow, with care for what may come."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from ..errors import TaskDataError
from .context import TaskContext
from .outputs import Written

if TYPE_CHECKING:
    from PIL.Image import Image

ImageFormat = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]
#: What is read. Not all that Pillow knows: some of its formats start other programs.
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ENDINGS: dict[str, ImageFormat] = {
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp",
    "tif": "tiff",
    "tiff": "tiff",
}


def format_of(path: str) -> ImageFormat | None:
    """The format that a name says, if any."""
    return ENDINGS.get(path.rpartition(".")[2].lower())


def open_image(file: BinaryIO, most: int) -> tuple[Image, ImageFormat]:
    """An image, upright and with pixels of RGB, RGBA, L or LA, and the format it came in.

    Raises:
        TaskDataError: it is no image of the known formats, is damaged, or has more than ``most``
            pixels.
    """
    import PIL.Image
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            # The size is checked below, before the first pixel is decoded.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            opened = PIL.Image.open(file, formats=READABLE)
            check_pixels(*opened.size, most)
            format = ENDINGS[str(opened.format).lower()]
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except PIL.UnidentifiedImageError:
        raise TaskDataError(f"the input is no image ({', '.join(READABLE)})") from None
    except PIL.Image.DecompressionBombError as exc:
        raise TaskDataError(str(exc)) from None
    except TaskDataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as exc:
        # What Pillow raises for damaged images; a disk that fails has a number.
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise TaskDataError(f"the image is damaged: {exc}") from None
    return _usual(upright), format


def _usual(image: Image) -> Image:
    if image.mode in {"RGB", "RGBA", "L", "LA"}:
        return image
    if image.mode.startswith("I"):  # 16 bits of grey, of which the upper eight are kept
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if "transparency" in image.info or image.mode in {"PA", "La", "RGBa"}:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in {"1", "F"} else "RGB")


def write_image(
    image: Image,
    output: str | None,
    format: ImageFormat,
    quality: int,
    profile: bytes | None,
    ctx: TaskContext,
) -> Written:
    """Write to a file, or to bytes."""
    options = _options(format, quality, profile)
    if output is None:
        buffer = io.BytesIO()
        image.save(buffer, format.upper(), **options)
        return {"data": buffer.getvalue(), "bytes": buffer.tell()}
    with ctx.files.output(output) as file:
        image.save(file, format.upper(), **options)
        ctx.check()
        size = file.seek(0, io.SEEK_END)
    return {"output": output, "bytes": size}


def _options(format: ImageFormat, quality: int, profile: bytes | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if format in {"jpeg", "webp"}:
        options["quality"] = quality
    if format in {"jpeg", "png"}:
        options["optimize"] = True
    if profile and format not in {"bmp", "gif"}:
        options["icc_profile"] = profile
    return options


def flat(image: Image, mode: str) -> Image:
    """Without transparency, on white."""
    import PIL.Image

    if image.mode in {"RGBA", "LA"}:
        white = PIL.Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert(mode)


def check_pixels(width: int, height: int, most: int) -> None:
    """Refuse what would not fit into memory."""
    if width * height > most:
        raise TaskDataError(f"{width} x {height} pixels are more than {most} (max_pixels)")
