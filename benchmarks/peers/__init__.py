"""The same networks in PyTorch, and cuDNN: what the engine is compared with. Nothing else here imports torch."""
