"""What tests measured, for the table that pytest shows after the run (conftest.py)."""

LINES: list[str] = []


def record(about: str, **figures: float | int | str) -> None:
    """A line: what was compared, and how far apart it is."""
    told = "  ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in figures.items())
    LINES.append(f"{about}: {told}")
    print(LINES[-1])


def _text(value: float | int | str) -> str:
    return (
        f"{value:.1e}"
        if isinstance(value, float) and value < 0.01
        else f"{value:.4g}"
        if isinstance(value, float)
        else f"{value}"
    )
