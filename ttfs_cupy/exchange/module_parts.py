"""The pieces of a module's text (module_text.py), each for a reader of PyTorch who knows nothing of this package."""

import re

import numpy as np

from ttfs_cupy.neuron.encoding import Encoder

# Lines between these words are kept if the network has what they name, and go otherwise.
_CONDITION = re.compile(r"^ *#if (\w+)\n(.*?)^ *#end\n", re.MULTILINE | re.DOTALL)

HEAD = '''"""A spiking network with time-to-first-spike coding, in PyTorch alone.

ttfs_cupy {version} wrote it from {source}.

    net = Net()
    net.load_state_dict({load})
    with torch.no_grad():
        output = net(images)

images: float32 (N, {shape}), pixels in [0, 1].
output: {result}; the largest is the prediction.

Every neuron spikes once at most. Layers have windows of length T for their spikes, one after the other; a spike at
time t of its window is held as its earliness x = T - t, so a large x is an early spike, and 0 is silence.

Inference is what is promised to agree with ttfs_cupy. Gradients are autograd's, without any of its bounds
(`network.clip`), and not promised. `net.double()` computes in float64.
#if sloped
Rounding can decide whether a neuron spikes. At a PSP_SLOPE above 0 that moves all that it feeds, so that for an image
in many the potentials may differ from ttfs_cupy's by more than rounding.
#end
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F'''

SLOPED_EARLINESS = '''def earliness(drive: Tensor, weight_sum: Tensor) -> Tensor:
    """Of the first moment u in which the potential meets the falling threshold:

    drive + PSP_SLOPE weight_sum u = T - u. At once if drive is T already, and never if they do not meet in the window.
    """
    divisor = 1 + PSP_SLOPE * weight_sum
    reached = drive + PSP_SLOPE * T * weight_sum  # the potential as the window closes
    silent = (divisor <= 0) | (reached <= 0)
    # those that are silent get a divisor of 1, which keeps gradients finite
    x = (reached / divisor.masked_fill(silent, 1.0)).clamp(max=T)
    return x.masked_fill(silent, 0.0).masked_fill(drive >= T, T)'''

FLAT_EARLINESS = '''def earliness(drive: Tensor) -> Tensor:
    """Of the first moment u in which the potential, which is constant here, meets the falling threshold T - u."""
    return drive.clamp(0, T)'''

CODING = '''class CodingConvolution(nn.Module):
    """Turns real-valued pixels into spikes: a convolution of them, whose result is a spike's earliness."""

    def __init__(
        self, channels: int, neurons: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(neurons, channels, *kernel))
        #if potential
        self.potential = nn.Parameter(torch.zeros(neurons))  # what neurons begin with, as a share of T
        #end
        self.stride, self.padding = stride, padding

    def forward(self, pixels: Tensor) -> Tensor:
        drive = T * F.conv2d(pixels, self.weight, stride=self.stride, padding=self.padding)
        #if potential
        drive = drive + T * self.potential[:, None, None]
        #end
        return drive.clamp(0, T)'''

CONVOLUTION = '''class Convolution(nn.Module):
    """Spiking neurons behind a convolution without bias."""

    def __init__(
        self, channels: int, neurons: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(neurons, channels, *kernel))
        #if potential
        self.potential = nn.Parameter(torch.zeros(neurons))  # what neurons begin with, as a share of T
        #end
        self.stride, self.padding = stride, padding

    def weighted(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)

    def forward(self, x: Tensor) -> Tensor:
        drive = self.weighted(x)  # the potential as the window opens
        #if potential
        drive = drive + T * self.potential[:, None, None]
        #end
        #if sloped
        weight_sum = self.weighted((x != 0).to(x.dtype))  # of the inputs that spiked
        return earliness(drive, weight_sum)
        #end
        #if flat
        return earliness(drive)
        #end'''

LINEAR = '''class Linear(nn.Module):
    """Spiking neurons, each connected with all inputs, without bias."""

    def __init__(self, inputs: int, neurons: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(neurons, inputs))
        #if potential
        self.potential = nn.Parameter(torch.zeros(neurons))  # what neurons begin with, as a share of T
        #end

    def forward(self, x: Tensor) -> Tensor:
        drive = F.linear(x, self.weight)  # the potential as the window opens
        #if potential
        drive = drive + T * self.potential
        #end
        #if sloped
        weight_sum = F.linear((x != 0).to(x.dtype), self.weight)  # of the inputs that spiked
        return earliness(drive, weight_sum)
        #end
        #if flat
        return earliness(drive)
        #end'''

READOUT = '''class Readout(nn.Module):
    """Neurons that do not spike: their potentials as the window closes."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, inputs))
        #if potential
        self.potential = nn.Parameter(torch.zeros(classes))  # what neurons begin with, as a share of T
        #end

    def forward(self, x: Tensor) -> Tensor:
        drive = F.linear(x, self.weight)
        #if potential
        drive = drive + T * self.potential
        #end
        #if sloped
        weight_sum = F.linear((x != 0).to(x.dtype), self.weight)  # of the inputs that spiked
        return drive + PSP_SLOPE * T * weight_sum
        #end
        #if flat
        return drive
        #end'''

NET = """class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
{made}

    def forward(self, images: Tensor) -> Tensor:
        # encoded in float32, as the network was trained; then in whatever the weights are in
        x = encode(images.float()).to(self.{first}.weight.dtype)
{called}
"""


def encode(encoder: Encoder) -> str:
    """The function that makes of pixels what the first layer gets."""
    pixels, lines = "images", []
    if encoder.standardizes:
        for name, values in (("mean", encoder.mean), ("std", encoder.std)):
            numbers = [float(value) for value in np.asarray(values, np.float32)]
            lines.append(f"    {name} = torch.tensor({numbers}, device=images.device).view(-1, 1, 1)")
        pixels = "(images - mean) / std"
    if encoder.encoding == "direct":
        about = "Pixels as real numbers, from which the first layer makes spikes."
    elif encoder.standardizes:
        about = "Standardised pixels as earliness, which leaves the window [0, T]."
    else:
        about = "The brighter a pixel, the earlier its spike; a black one is silent."
    scale = " * T" if encoder.encoding == "latency" and encoder.t_win != 1 else ""
    result = f"    return {pixels}{scale}"
    return "\n".join(["def encode(images: Tensor) -> Tensor:", f'    """{about}"""', *lines, result])


def filled(text: str, *, slope: float, has_potential: bool) -> str:
    """The text with the lines of this network's kind alone."""
    there = {"potential": has_potential, "sloped": slope != 0, "flat": slope == 0}
    return _CONDITION.sub(lambda found: found[2] if there[found[1]] else "", text + "\n").rstrip("\n") + "\n"
