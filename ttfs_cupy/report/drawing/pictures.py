"""Images as they stand in the page: PNG files as data URIs, which CSS enlarges."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# pixels between two filters
GAP = 1
# colours of weights, for every theme: below 0, 0, above 0 (blue, white, orange)
_LOW, _MIDDLE, _HIGH = (np.array(colour, np.float64) for colour in ((0, 90, 160), (250, 250, 250), (205, 85, 0)))
_BETWEEN = np.array((186, 193, 204), np.uint8)


def picture(image: NDArray[np.uint8], maximum: int) -> str:
    """An image (H, W, C) with pixels up to `maximum`; of channels other than 1 or 3 their mean is shown."""
    values = image.astype(np.float64) * (255 / maximum)
    if image.shape[2] != 3:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = np.rint(values).astype(np.uint8)
    return _uri(pixels if image.shape[2] == 3 else pixels[..., 0])


def filters(weights: NDArray[np.float32]) -> tuple[str, int, int]:
    """Filters (kernel_h, kernel_w, in, out) side by side, over all inputs the mean: the picture, and how many rows and
    columns of filters it has. All have one scale, whose ends are the largest magnitude."""
    means = weights.astype(np.float64).mean(axis=2)
    height, width, count = means.shape
    columns = min(count, max(8, int(np.ceil(np.sqrt(2 * count)))))
    rows = -(-count // columns)
    largest = np.abs(means).max() or 1.0
    canvas = np.empty((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), np.uint8)
    canvas[...] = _BETWEEN
    for place in range(count):
        top, left = (
            GAP + part * (size + GAP) for part, size in zip(divmod(place, columns), (height, width), strict=True)
        )
        canvas[top : top + height, left : left + width] = _coloured(means[..., place] / largest)
    return _uri(canvas), rows, columns


def _coloured(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    share = np.abs(values)[..., np.newaxis]
    ends = np.where(values[..., np.newaxis] < 0, _LOW, _HIGH)
    return np.rint(_MIDDLE + share * (ends - _MIDDLE)).astype(np.uint8)


def _uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
