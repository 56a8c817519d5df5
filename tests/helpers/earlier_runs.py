"""Files of runs as earlier versions of ours wrote them."""

from pathlib import Path

from ttfs_cupy.experiment.files import checkpoint


def forget_input(file: Path) -> None:
    """Weights that do not say what their network's input is."""
    arrays, metadata = checkpoint.load(file)
    del metadata["input"]
    checkpoint.save(file, arrays, metadata)
