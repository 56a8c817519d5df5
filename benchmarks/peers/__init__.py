"""The same networks in PyTorch, cuDNN, and torchvision's transforms: the peers. Nothing else here imports torch."""
