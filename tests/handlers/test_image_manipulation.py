"""IMAGE_MANIPULATION on real JPEG and PNG files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import PathRefused, TaskDataError
from celery_workerpool.handlers import Files

from .support import do, refusal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.jpg: 640 x 480, left half red, right half blue; logo.png: half transparent."""
    folder = tmp_path_factory.mktemp("images")
    photo = Image.new("RGB", (640, 480), "red")
    photo.paste("blue", (320, 0, 640, 480))
    photo.save(folder / "photo.jpg", quality=95)
    logo = Image.new("RGBA", (64, 48), (0, 255, 0, 255))
    logo.paste((0, 0, 0, 0), (32, 0, 64, 48))
    logo.save(folder / "logo.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "Maker"
    photo.save(folder / "turned.jpg", exif=exif, quality=95)
    return folder


def edit(folder: Path, name: str, **payload: Any) -> tuple[dict[str, Any], Image.Image]:
    result = do(T.IMAGE_MANIPULATION, {"image": str(folder / name), **payload})
    image = Image.open(io.BytesIO(result["data"]))
    assert (image.width, image.height) == (result["width"], result["height"])
    assert image.format == result["format"].upper()
    assert result["bytes"] == len(result["data"])
    return result, image


def near(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        ({"width": 800, "height": 600}, (800, 600)),
        ({"width": 100, "height": 100}, (100, 100)),
        ({"width": 320}, (320, 240)),
        ({"height": 240}, (320, 240)),
        ({"width": 100, "height": 100, "fit": "contain"}, (100, 75)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_resize(folder: Path, payload: dict[str, Any], size: tuple[int, int]) -> None:
    result, image = edit(folder, "photo.jpg", operation="resize", **payload)
    assert image.size == size
    assert (result["original_width"], result["original_height"]) == (640, 480)
    if size[0] > 1:
        assert near(image.getpixel((5, 5)), (254, 0, 0))
        assert near(image.getpixel((size[0] - 5, 5)), (0, 0, 254))


def test_thumbnail_never_grows(folder: Path) -> None:
    assert edit(folder, "photo.jpg", operation="thumbnail")[1].size == (256, 192)
    assert edit(folder, "logo.png", operation="thumbnail")[1].size == (64, 48)


def test_crop(folder: Path) -> None:
    _, image = edit(folder, "photo.jpg", operation="crop", left=330, top=10, width=30, height=20)
    assert image.size == (30, 20)
    assert near(image.getpixel((0, 0)), (0, 0, 254))
    with pytest.raises(TaskDataError, match="ends at 700 x 20, and the image at 640 x 480"):
        edit(folder, "photo.jpg", operation="crop", width=700, height=20)


def test_rotate_turns_clockwise(folder: Path) -> None:
    _, image = edit(folder, "photo.jpg", operation="rotate", angle=90)
    assert image.size == (480, 640)
    assert near(image.getpixel((240, 10)), (254, 0, 0))  # left became top
    _, corner = edit(folder, "photo.jpg", operation="rotate", angle=45, fill="white")
    assert near(corner.getpixel((2, 2)), (255, 255, 255))
    _, same = edit(folder, "photo.jpg", operation="rotate", angle=30, expand=False)
    assert same.size == (640, 480)
    with pytest.raises(TaskDataError, match="fill = 'no such' is no colour"):
        edit(folder, "photo.jpg", operation="rotate", angle=3, fill="no such")


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("name", ["photo.jpg", "logo.png"])
def test_convert(folder: Path, name: str, format: str) -> None:
    result, image = edit(folder, name, operation="convert", format=format)
    assert result["format"] == format
    if name == "logo.png" and format in {"jpeg", "bmp"}:
        assert near(image.convert("RGB").getpixel((60, 5)), (255, 255, 255))  # on white


def test_convert_to_grey(folder: Path) -> None:
    result, image = edit(folder, "photo.jpg", operation="convert", mode="L")
    assert result["mode"] == image.mode == "L"


@pytest.mark.parametrize(
    "name",
    [
        "blur", "sharpen", "smooth", "detail", "contour", "edges", "emboss", "grayscale",
        "invert", "autocontrast", "equalize",
    ],
)  # fmt: skip
@pytest.mark.parametrize("image", ["photo.jpg", "logo.png"])
def test_filters(folder: Path, image: str, name: str) -> None:
    _, made = edit(folder, image, operation="filter", filter=name)
    if name == "invert" and image == "photo.jpg":
        assert near(made.getpixel((10, 10)), (1, 255, 255))
    if image == "logo.png":
        assert made.getchannel("A").getpixel((60, 10)) == 0  # still transparent


def test_an_image_is_turned_upright_and_its_metadata_removed(folder: Path) -> None:
    result, image = edit(folder, "turned.jpg", operation="convert")
    assert image.size == (480, 640)
    assert (result["original_width"], result["original_height"]) == (480, 640)
    assert near(image.getpixel((240, 10)), (254, 0, 0))
    assert dict(image.getexif()) == {}


def test_the_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png", icc_profile=profile)
    _, image = edit(tmp_path, "p.png", operation="thumbnail")
    assert image.info["icc_profile"] == profile


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path: Path) -> None:
    Image.new("I;16", (9, 9), 0x8000).save(tmp_path / "grey.png")
    _, image = edit(tmp_path, "grey.png", operation="thumbnail")
    assert image.getpixel((4, 4)) == 0x80


def test_bytes_in_and_a_file_out(folder: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    result = do(
        T.IMAGE_MANIPULATION,
        {
            "image": (folder / "photo.jpg").read_bytes(),
            "operation": "thumbnail",
            "output": str(tmp_path / "small.webp"),
        },
        report=lambda percent, message: seen.append(percent),
    )
    assert "data" not in result
    assert result["bytes"] == (tmp_path / "small.webp").stat().st_size
    with Image.open(tmp_path / "small.webp") as image:
        assert image.format == "WEBP"
    assert seen == sorted(seen) and seen[-1] == 100


def test_bytes_that_could_be_a_path_are_no_path() -> None:
    with pytest.raises(TaskDataError, match="is no image"):
        do(T.IMAGE_MANIPULATION, {"image": b"/etc/passwd", "operation": "thumbnail"})


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and has no pixels."""
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(("width", "height"), [(12_000, 10_000), (15_000, 15_000), (10**6, 10**6)])
def test_bombs_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    with pytest.raises(TaskDataError, match="pixels"):
        do(T.IMAGE_MANIPULATION, {"image": png_of(width, height), "operation": "thumbnail"})


def test_a_resize_that_would_become_too_large(folder: Path) -> None:
    with pytest.raises(TaskDataError, match="30000 x 22500 pixels are more than 100000000"):
        edit(folder, "photo.jpg", operation="resize", width=30_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        png_of(9, 9),
    ],
)
def test_what_is_no_image(content: bytes) -> None:
    with pytest.raises(TaskDataError):
        do(T.IMAGE_MANIPULATION, {"image": content, "operation": "thumbnail"})


@pytest.mark.parametrize("size", [30, 400, 900, -20])
def test_an_image_that_is_cut_short(folder: Path, size: int) -> None:
    content = (folder / "photo.jpg").read_bytes()[:size]
    with pytest.raises(TaskDataError):
        do(T.IMAGE_MANIPULATION, {"image": content, "operation": "thumbnail"})


def test_paths_are_confined(folder: Path) -> None:
    files = Files.within([str(folder)])
    payload = {"image": "/etc/passwd", "operation": "thumbnail"}
    assert "outside of what the settings allow" in refusal(T.IMAGE_MANIPULATION, payload, files)
    payload = {"image": "photo.jpg", "operation": "thumbnail", "output": "../x.png"}
    assert refusal(T.IMAGE_MANIPULATION, payload, files).startswith("payload.output = '../x.png'")
    with pytest.raises(PathRefused):
        files.open("/etc/passwd")
