"""Data sets, their split, augmentation and batches. Importing this loads neither torch nor scikit-learn."""

from .augmentation import AUGMENTATIONS, Augmentation, augmentation
from .batches import Batch, Batches
from .mixing import MIXES, MixedLabels, Mixing, mixing
from .sources.datasets import DATASETS, Source, load_dataset
from .sources.images import Dataset, ImageSet
from .split import split

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "MIXES",
    "Augmentation",
    "Batch",
    "Batches",
    "Dataset",
    "ImageSet",
    "MixedLabels",
    "Mixing",
    "Source",
    "augmentation",
    "load_dataset",
    "mixing",
    "split",
]
