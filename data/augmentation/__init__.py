"""What is drawn for training images: operations by torchvision's names, as a program for the kernels."""

from .operations import (
    Cutout,
    ImageOperation,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
)
from .pipeline import Augmentation
from .policies import AutoAugment, RandAugment, TrivialAugmentWide
from .program import Draw, Operation, Program
from .reading import AUGMENTATIONS, CHOICES, OPERATIONS, augmentation, augmentation_trouble

__all__ = [
    "AUGMENTATIONS",
    "CHOICES",
    "OPERATIONS",
    "Augmentation",
    "AutoAugment",
    "Cutout",
    "Draw",
    "ImageOperation",
    "Operation",
    "Program",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomTranslation",
    "RandomVerticalFlip",
    "TrivialAugmentWide",
    "augmentation",
    "augmentation_trouble",
]
