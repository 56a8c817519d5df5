"""In which precision their code computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """float32 as they do, or float64: then .float(), which they call on masks, makes float64, too."""
    if dtype == torch.float32:
        yield
        return
    # cleared afterwards: it is TensorBase's
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        del torch.Tensor.float
