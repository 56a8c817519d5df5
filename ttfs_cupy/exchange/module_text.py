"""A network as the text of a Python file: a torch.nn.Module that computes the same, with PyTorch alone."""

from collections.abc import Sequence

from ttfs_cupy.common.shown import harmless
from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange import module_parts as parts


def module_text(network: Network, source: str, weights: str) -> str:
    """The file's text. source: what the network comes from; weights: the name of its state_dict's file."""
    weighted = [layer for layer in network.layers if isinstance(layer, Weighted)]
    has_potential = network.parameters.has_potentials
    pieces = [_head(network, source, weights), _constants(network), parts.encode(network.encoder)]
    spiking = [layer for layer in weighted if layer.is_spiking and not _is_coding(layer, network)]
    if spiking:
        pieces.append(parts.SLOPED_EARLINESS if network.psp_slope else parts.FLAT_EARLINESS)
    if _is_coding(weighted[0], network):
        pieces.append(parts.CODING)
    if any(not layer.flat for layer in spiking):
        pieces.append(parts.CONVOLUTION)
    if any(layer.flat for layer in spiking):
        pieces.append(parts.LINEAR)
    if not weighted[-1].is_spiking:
        pieces.append(parts.READOUT)
    pieces.append(_net(network))
    return parts.filled("\n\n\n".join(pieces), slope=network.psp_slope, has_potential=has_potential)


def _head(network: Network, source: str, weights: str) -> str:
    name = harmless(weights)
    load = f'torch.load("{name}", weights_only=True)'
    if weights.endswith(".safetensors"):
        load = f'safetensors.torch.load_file("{name}")'
    result = "earliness of the readout's spikes" if network.layers[-1].is_spiking else "potentials"
    return parts.HEAD.format(
        source=harmless(source),
        version=__version__,
        load=load,
        shape=", ".join(map(str, network.input_shape)),
        result=f"{result}, (N, {network.classes})",
    )


def _constants(network: Network) -> str:
    lines = [f"T = {float(network.t_win)!r}  # the length of a layer's window for spikes"]
    if network.psp_slope:
        slope = float(network.psp_slope)
        lines.append(f"PSP_SLOPE = {slope!r}  # by how much of its weight sum a potential grows in that window")
    return "\n".join(lines)


def _net(network: Network) -> str:
    made, called = [], []
    for index, layer in enumerate(network.layers):
        if isinstance(layer, MaxPool):
            # the earliest spike of each window
            called.append(f"x = F.max_pool2d(x, kernel_size={layer.kernel}, stride={layer.stride})")
            continue
        assert isinstance(layer, Weighted)
        made.append(f"self.{layer.name} = {_construction(layer, network)}")
        if layer.flat and not _is_flat(network.layers[:index]):
            called.append("x = x.flatten(1)")
        called.append(f"x = self.{layer.name}(x)")
    last = called.pop().replace("x = ", "return ", 1)
    return parts.NET.format(made=_indented(made), called=_indented([*called, last]), first=network.layers[0].name)


def _construction(layer: Weighted, network: Network) -> str:
    shape = layer.shape
    if layer.flat:
        kind = "Linear" if layer.is_spiking else "Readout"
        return f"{kind}({shape.patch_size}, {shape.out_channels})"
    kind = "CodingConvolution" if _is_coding(layer, network) else "Convolution"
    sizes = f"{shape.in_channels}, {shape.out_channels}"
    return f"{kind}({sizes}, kernel={shape.kernel}, stride={shape.stride}, padding={shape.padding})"


def _is_coding(layer: Weighted, network: Network) -> bool:
    return layer is network.layers[0] and network.encoder.encoding == "direct"


def _is_flat(below: Sequence[Layer]) -> bool:
    return bool(below) and isinstance(below[-1], Weighted) and below[-1].flat


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)
