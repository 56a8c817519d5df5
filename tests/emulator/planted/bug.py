"""What a planted bug is."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bug:
    """A kernel `wrong(const float* in, float* out)`, and how it is launched: both arrays have as many floats.

    The error is on the line that ends with "// here", or on that with "// or here", the other of two that race.
    """

    error: str
    body: str
    threads: int = 64
    shared_bytes: int = 256
    floats: int = 64
    says: str = ""
    blocks: int = 1

    @property
    def lines(self):
        return [number for number, line in enumerate(self.text.splitlines(), start=1) if line.endswith("here")]

    @property
    def text(self):
        return f"KERNEL void wrong(const float* in, float* out) {{\n    const int i = threadIdx.x;{self.body}}}\n"
