"""Work on one batch after the other, on a GPU as one CUDA graph each: training steps, evaluations."""
