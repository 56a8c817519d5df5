"""Draws docs/images/spikes.svg and spikes_in_motion.svg: real spikes of a trained network.

ttfs train quickstart --no-tune --device cpu --seed 0 --set network.psp_slope=1 --output runs/pictured
python docs/pictures/spikes.py runs/pictured
"""

import sys
from pathlib import Path

from figure import drawn
from passage import passage

from ttfs_cupy import UserError, load, load_dataset
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.files.writing import write_atomically

IMAGES = Path(__file__).parents[1] / "images"


def main(arguments: list[str]) -> int:
    """Writes both pictures; returns the exit code."""
    parser = command_line.Parser(description="Draws real spikes of a digits run, still and in motion.")
    parser.add_run()
    parser.add_argument("--image", type=int, default=4, help="which of the test set (default: 4)")
    parser.add_argument("--data", type=Path, default=Path("datasets"), metavar="DIR", help="data.root of the run")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, metavar="DIR")
    parsed = parser.parse_args(arguments)
    return command_line.run(lambda: _draw(parsed.run, parsed.image, parsed.data, parsed.output))


def _draw(run: Path, image: int, data: Path, output: Path) -> None:
    trained = load(run, device="cpu")
    levels = load_dataset("digits", data).test.images.transpose(0, 3, 1, 2)
    if not 0 <= image < len(levels):
        raise UserError(f"--image must be from 0 to {len(levels) - 1}, not {image}")
    found = passage(trained, levels[image : image + 1])
    output.mkdir(parents=True, exist_ok=True)
    for name, moving in (("spikes.svg", False), ("spikes_in_motion.svg", True)):
        write_atomically(output / name, drawn(found, moving=moving).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
