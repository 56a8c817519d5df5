"""Trained networks for other runtimes: ONNX, NIR, and C."""
