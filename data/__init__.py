"""Data sets, their split, augmentation and batches. Importing this loads neither torch nor scikit-learn."""

from .augmentation import AUGMENTATIONS, Augmentation, augmentation
from .class_weights import class_weights
from .loader import Batch, Batches
from .mixing import MIXES, MixedLabels, mixing
from .sources.datasets import DATASETS, Source, load_dataset
from .sources.images import Dataset, ImageSet
from .split import Split, fingerprint, split

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
    "Source",
    "Split",
    "augmentation",
    "class_weights",
    "fingerprint",
    "load_dataset",
    "mixing",
    "split",
]
