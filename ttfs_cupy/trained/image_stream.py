"""Images from files, decoded by several threads ahead of whoever takes them, in their order and within a bounded
memory, however many there are."""

import io
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.threads import Task, ThreadPool
from ttfs_cupy.data import InputDescription
from ttfs_cupy.data.decoding.photograph import Photograph, decode_content, decode_file, load_pillow, quiet

# files that a thread decodes in one go
CHUNK = 8
# batches that are decoded, or being decoded, while the network works on one
AHEAD = 2
LEVELS = 255


@dataclass(frozen=True)
class ImageSource:
    """One image: the file of that name, or what standard input brought."""

    name: str
    content: bytes | None = None


@dataclass(frozen=True)
class DecodedImage:
    """levels: uint8 (H, W, C), as the data set of the network has its pixels. found: the size that the file had."""

    source: ImageSource
    levels: NDArray[np.uint8]
    found: tuple[int, int]


def check_decodable(images: InputDescription) -> None:
    """Raises UserError unless image files can be made into what the network was trained on."""
    if images.shape[0] not in (1, 3):
        raise UserError(
            f"image files are grey or have three colours, and this network takes {images.shape[0]} channels: give it "
            "arrays, or measure it with evaluate"
        )


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many of them, the last one of what is left."""
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def decoded_images(
    sources: Iterable[ImageSource | UserError], images: InputDescription, threads: int, batch_size: int
) -> Generator[DecodedImage | UserError, None, None]:
    """Each image at the network's size and channels, as the data set `folder` makes them; in place of one that cannot
    be decoded, and of an error among the sources, the error.

    While the caller works on a batch of that size, the next ones are decoded, until the generator ends or is closed.
    Raises UserError where Pillow lacks.
    """
    load_pillow()

    def decode(chunk: list[ImageSource | UserError]) -> list[DecodedImage | UserError]:
        return [source if isinstance(source, UserError) else _decoded(source, images) for source in chunk]

    size = min(CHUNK, batch_size)
    most = threads + -(-AHEAD * batch_size // size)
    waiting: deque[Task[list[DecodedImage | UserError]]] = deque()
    with quiet(), ThreadPool(threads, "ttfs-decoding") as pool:
        for chunk in batched(sources, size):
            waiting.append(pool.submit(decode, chunk))
            # sources that come slowly are not waited for with what is there
            if len(waiting) > most or waiting[0].is_over:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _decoded(source: ImageSource, images: InputDescription) -> DecodedImage | UserError:
    channels, height, width = images.shape
    wanted = ((height, width), channels)
    try:
        if source.content is None:
            photograph = decode_file(source.name, *wanted)
        else:
            content = source.content
            photograph = decode_content(io.BytesIO(content), len(content), "standard input", *wanted)
    except UserError as error:
        return error
    return DecodedImage(source, _levels(photograph, images.maximum), photograph.found)


def _levels(photograph: Photograph, maximum: int) -> NDArray[np.uint8]:
    """Rounded to the levels that the network was trained on, where there are fewer than 256."""
    if maximum == LEVELS:
        return photograph.pixels
    levels: NDArray[np.uint8] = np.rint(photograph.pixels * np.float64(maximum / LEVELS)).astype(np.uint8)
    return levels
