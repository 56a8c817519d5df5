"""CUDA's libraries and CuPy: which are installed, what is missing, and how they are loaded."""
