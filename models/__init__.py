"""Networks by name, from a YAML file, or as a list of layers.

A model is a list of layers: `64` is a 3x3 convolution with 64 channels, padding 1, stride 1; `P` is 2x2 pooling; and
mappings say the rest: `{convolution: 64, kernel: 5, stride: 2, padding: 0}`, `{pool: [2, 3], stride: 2}`,
`{linear: 256}`. A readout of `classes` neurons is added. Two numbers are (vertical, horizontal).

T2FSNN's form is read, too, as a text or part by part in a list: `64C3 - P2 - 512F`, where C is a convolution with the
kernel behind it, P a pooling and F a full connection.
"""

from ttfs_cupy.models.builder import build, encoder_of
from ttfs_cupy.models.spec import ConvolutionSpec, LayerSpec, LinearSpec, ModelSpec, PoolSpec, names, read

__all__ = [
    "ConvolutionSpec",
    "LayerSpec",
    "LinearSpec",
    "ModelSpec",
    "PoolSpec",
    "build",
    "encoder_of",
    "names",
    "read",
]
