"""Data sets, their split, augmentation and batches. Importing this loads neither torch nor scikit-learn."""

# before what is called like it
from .augmentation import Program
from .host_augmentation import AUGMENTATIONS, Augmentation, augmentation
from .loader import Batch, Batches
from .mixing import MIXES, MixedLabels, mixing
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
    "Program",
    "Source",
    "augmentation",
    "load_dataset",
    "mixing",
    "split",
]
