"""Times a training step of the engine beside the same model in eager PyTorch, on this machine's CPU.

    python -m ttfs_cupy.benchmarks.training_step [--networks vgg7 vgg11] [--batch-size 32] [--rounds 7]

It is `python -m ttfs_cupy.bench`, which has more to offer, with these choices made.
"""

import sys

from ttfs_cupy.benchmarks.comparison import command

if __name__ == "__main__":
    choices = ["--device", "cpu", "--against", "eager", "--work", "step", "--batch-size", "32"]
    sys.exit(command.main([*choices, *sys.argv[1:]]))
