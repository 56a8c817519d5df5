"""Times a training step of the engine beside the same model in eager PyTorch, on this machine's CPU.

    python -m ttfs_cupy.benchmarks.training_step [--networks vgg7 vgg11] [--batch-size 32] [--rounds 7]

It is `python -m ttfs_cupy.bench`, which has more to offer, with these choices made.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.training_step")

from collections.abc import Sequence

from ttfs_cupy.benchmarks.comparison import command

CHOICES = ("--device", "cpu", "--against", "eager", "--work", "step", "--batch-size", "32")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return command.main(arguments, CHOICES)
