"""Image files of every awkward kind, made with Pillow; and what each must turn out to be, by ways of its own.

A good kind has the pixels that it must be decoded to, before it is resized; a bad one the words of its refusal.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# EXIF's orientations: what was done to the upright picture, to be undone by whoever shows it
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


class Kind(NamedTuple):
    """make(path, height, width, rng) writes a file and returns its upright pixels, (H, W) or (H, W, 3)."""

    ending: str
    make: Callable[[Path, int, int, np.random.Generator], Pixels]


def noise(rng: np.random.Generator, *shape: int) -> Pixels:
    """With some structure, so that an order of pixels gone wrong, and a wrong scale, are far off."""
    ramp = np.linspace(0, 200, shape[0] * shape[1]).reshape(shape[:2])
    return (ramp.reshape(*shape[:2], *[1] * (len(shape) - 2)) + rng.integers(0, 55, shape)).astype(np.uint8)


def over_black(colour: Pixels, alpha: Pixels) -> Pixels:
    """In Pillow's rounding: half up."""
    opacity = alpha.astype(int) if colour.ndim == 2 else alpha.astype(int)[..., None]
    return ((colour * opacity + 127) // 255).astype(np.uint8)


def _plain(mode: str, **options: object) -> Callable[[Path, int, int, np.random.Generator], Pixels]:
    def make(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
        pixels = noise(rng, height, width, *([3] if mode == "RGB" else []))
        Image.fromarray(pixels).save(path, **options)
        # what lossy files hold is for Pillow to say
        return np.array(Image.open(path)) if path.suffix in (".jpg", ".jpeg", ".webp", ".JPG") else pixels

    return make


def _bilevel(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    bits = noise(rng, height, width) > 120
    Image.fromarray(bits).save(path)
    return (bits * 255).astype(np.uint8)


def _palette(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    colours, indices = rng.integers(0, 256, (16, 3), np.uint8), rng.integers(0, 16, (height, width), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(path)
    return colours[indices]


def _transparent_palette(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    colours, indices = rng.integers(0, 256, (16, 3), np.uint8), rng.integers(0, 16, (height, width), np.uint8)
    alphas = rng.integers(0, 256, 16, np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(path, transparency=alphas.tobytes())
    return over_black(colours[indices], alphas[indices])


def _alpha(mode: str) -> Callable[[Path, int, int, np.random.Generator], Pixels]:
    def make(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
        pixels = rng.integers(0, 256, (height, width, len(mode)), np.uint8)
        Image.fromarray(pixels, mode).save(path)
        return over_black(pixels[..., 0] if mode == "LA" else pixels[..., :3], pixels[..., -1])

    return make


def _colour_key(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    """A PNG of which one colour is transparent."""
    pixels = rng.integers(0, 2, (height, width, 3), np.uint8) * 200 + 20
    Image.fromarray(pixels).save(path, transparency=(220, 20, 220))
    return np.where((pixels == (220, 20, 220)).all(-1, keepdims=True), 0, pixels).astype(np.uint8)


def _grey_key(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    pixels = rng.integers(0, 4, (height, width), np.uint8) * 80
    Image.fromarray(pixels).save(path, transparency=160)
    return np.where(pixels == 160, 0, pixels).astype(np.uint8)


def _sixteen(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    wide = rng.integers(0, 65536, (height, width), np.uint16)
    wide[0, :2] = 0, 65535
    Image.fromarray(wide).save(path)
    return np.round(wide / 65535 * 255).astype(np.uint8)


def _floats(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    values = rng.random((height, width), np.float32)
    values[0, :2] = 0, 1
    Image.fromarray(values).save(path)
    return np.round(values.astype(float) * 255).astype(np.uint8)


def _cmyk(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    Image.fromarray(noise(rng, height, width, 4), "CMYK").save(path)
    return np.array(Image.open(path).convert("RGB"))


def _animated(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
    first, second = (rng.integers(0, 2, (height, width, 3), np.uint8) * 255 for _ in range(2))
    options = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(first).save(path, save_all=True, append_images=[Image.fromarray(second)], **options)
    return first


def _turned(number: int) -> Callable[[Path, int, int, np.random.Generator], Pixels]:
    def make(path: Path, height: int, width: int, rng: np.random.Generator) -> Pixels:
        upright = noise(rng, height, width, 3)
        exif = Image.Exif()
        exif[274] = number
        Image.fromarray(np.ascontiguousarray(STORED[number](upright))).save(path, exif=exif)
        if path.suffix != ".jpg":
            return upright
        with Image.open(path) as image:
            stored = np.array(image)
        # undone by what undoes it: each is its own inverse but for 6 and 8
        return np.ascontiguousarray(STORED[{6: 8, 8: 6}.get(number, number)](stored))

    return make


GOOD: dict[str, Kind] = {
    "grey": Kind(".png", _plain("L")),
    "colour": Kind(".png", _plain("RGB")),
    "bitmap": Kind(".bmp", _plain("RGB")),
    "ppm": Kind(".ppm", _plain("RGB")),
    "pgm": Kind(".pgm", _plain("L")),
    "jpeg": Kind(".jpeg", _plain("RGB", quality=90)),
    "capital letters": Kind(".JPG", _plain("RGB", format="JPEG")),
    "progressive": Kind(".jpg", _plain("RGB", progressive=True)),
    "grey jpeg": Kind(".jpg", _plain("L")),
    "of a camera with two views": Kind(".jpg", _plain("RGB", format="MPO", save_all=True)),
    "webp": Kind(".webp", _plain("RGB")),
    "tiff": Kind(".tiff", _plain("RGB")),
    "packed tiff": Kind(".tif", _plain("RGB", compression="tiff_lzw")),
    "two levels": Kind(".png", _bilevel),
    "two levels in a tiff": Kind(".tif", _bilevel),
    "palette": Kind(".png", _palette),
    "gif": Kind(".gif", _palette),
    "transparent palette": Kind(".png", _transparent_palette),
    "colour and alpha": Kind(".png", _alpha("RGBA")),
    "grey and alpha": Kind(".png", _alpha("LA")),
    "transparent colour": Kind(".png", _colour_key),
    "transparent grey": Kind(".png", _grey_key),
    "sixteen bits": Kind(".png", _sixteen),
    "sixteen bits in a tiff": Kind(".tif", _sixteen),
    "sixteen bits in a pgm": Kind(".pgm", _sixteen),
    "floats": Kind(".tif", _floats),
    "cmyk": Kind(".jpg", _cmyk),
    "cmyk in a tiff": Kind(".tif", _cmyk),
    "animated gif": Kind(".gif", _animated),
    "animated png": Kind(".png", _animated),
    "animated webp": Kind(".webp", _animated),
    **{f"jpeg turned {number}": Kind(".jpg", _turned(number)) for number in STORED},
    **{f"png turned {number}": Kind(".png", _turned(number)) for number in STORED},
    **{f"tiff turned {number}": Kind(".tif", _turned(number)) for number in STORED},
}

GREY = {
    *("grey", "pgm", "grey jpeg", "two levels", "two levels in a tiff", "grey and alpha", "transparent grey"),
    *("sixteen bits", "sixteen bits in a tiff", "sixteen bits in a pgm", "floats"),
}


def _truncated(path: Path) -> None:
    Image.fromarray(noise(np.random.default_rng(1), 40, 40, 3)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _progressive_cut(path: Path) -> None:
    Image.fromarray(noise(np.random.default_rng(1), 90, 90, 3)).save(path, progressive=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _bomb(side: int) -> Callable[[Path], None]:
    """A hundred bytes that say so many pixels."""

    def make(path: Path) -> None:
        Image.new("L", (4, 4)).save(path)
        content = path.read_bytes()
        header = b"IHDR" + struct.pack(">2I", side, side) + content[24:29]
        path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])

    return make


def _wide_integers(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(path)


def _large_floats(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 1.5, np.float32)).save(path)


def _not_a_number(path: Path) -> None:
    Image.fromarray(np.array([[0.5, np.nan], [0, 1]], np.float32)).save(path)


def _a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


# of each: its ending, how it is made, and words of the sentence that refuses it
BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "zero bytes": (".png", Path.touch, "is empty: it has no bytes"),
    "text": (".jpg", lambda path: path.write_text("no image at all"), "is no image, or a damaged one"),
    "a page of a server": (".gif", lambda path: path.write_text("<html>404</html>"), "is no image"),
    "postscript": (".png", lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"), "is no image"),
    "truncated png": (".png", _truncated, "is damaged"),
    "truncated jpeg": (".jpg", _truncated, "is damaged"),
    "truncated tiff": (".tif", _truncated, "is damaged"),
    "truncated bmp": (".bmp", _truncated, "is damaged"),
    "truncated ppm": (".ppm", _truncated, "is damaged"),
    "truncated webp": (".webp", _truncated, "damaged"),
    "truncated progressive": (".jpg", _progressive_cut, "is damaged"),
    "bomb": (".png", _bomb(60_000), "has more than 89,478,485 pixels"),
    # of which Pillow itself only warns
    "smaller bomb": (".png", _bomb(10_000), "has more than 89,478,485 pixels"),
    "wide integers": (".tif", _wide_integers, "holds whole numbers from 70000 to 70000"),
    "large floats": (".tif", _large_floats, "holds floats from 1.5 to 1.5"),
    "no numbers": (".tif", _not_a_number, "holds floats from nan"),
    "a pipe": (".png", os.mkfifo, "it is a pipe, not a file"),
    "a link that leads nowhere": (".png", lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
    "a link to itself": (".png", _a_link_to_itself, "its symbolic links lead in a circle"),
}
