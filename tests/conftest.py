"""What holds for all tests: the environment that they run in says nothing of colours."""

import os

for name in ("NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)
