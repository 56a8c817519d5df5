"""What carries gradients from rank to rank: NCCL between GPUs, MPI or sockets between CPUs."""
