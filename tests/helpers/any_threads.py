"""A CPU of more threads than there are cores, which CpuDevice itself does not make."""

from ttfs_cupy.device import CpuDevice


class AnyThreads(CpuDevice):
    """As many threads as asked for."""

    def __init__(self, threads: int):
        super().__init__(1)
        self.workers = threads
        self.description = f"CPU, {threads} threads"
        self.after_fork()
