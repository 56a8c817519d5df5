"""Data sets, their split, augmentation and batches. Importing this loads neither torch nor scikit-learn."""

from .augmentation import AUGMENTATIONS, Augmentation, augmentation
from .batches import Batch, Batches
from .class_weights import class_weights
from .corruption import CORRUPTIONS, Corruption, corrupted
from .mixing import MIXES, MixedLabels, Mixing, mixing
from .share import WHOLE, Share
from .sources.datasets import DATASETS, Source, load_dataset
from .sources.images import Dataset, ImageSet, InputDescription
from .split import Split, fingerprint, split

__all__ = [
    "AUGMENTATIONS",
    "CORRUPTIONS",
    "DATASETS",
    "MIXES",
    "WHOLE",
    "Augmentation",
    "Batch",
    "Batches",
    "Corruption",
    "Dataset",
    "ImageSet",
    "InputDescription",
    "MixedLabels",
    "Mixing",
    "Share",
    "Source",
    "Split",
    "augmentation",
    "class_weights",
    "corrupted",
    "fingerprint",
    "load_dataset",
    "mixing",
    "split",
]
