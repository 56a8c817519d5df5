"""T2FSNN's configs, as its users have them."""

import json
from pathlib import Path
from typing import Any

# the keys and values of its two examples
BATCH_256 = {
    "use_adam": True,
    "grad_clip": 1,
    "w_decay": 0.1,
    "lr": 1e-4,
    "annealing": 0.999,
    "early_stopping": 25,
    "epochs": 1000,
    "batch_size": 256,
}
BATCH_32 = {**BATCH_256, "lr": 3e-5, "batch_size": 32}


def write_json(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return path
