"""From the kernels' text to machine code: reads it, compiles it for GPUs and for this CPU, and keeps the result."""
