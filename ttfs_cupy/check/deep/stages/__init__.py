"""Which stages there are, the most important first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of the deep check: module.run(notes, device).

    most: seconds that it may take. least: seconds that have to be left for it to begin.
    """

    name: str
    module: str
    most: float
    least: float


def _stage(name: str, module: str, most: float, least: float) -> Stage:
    return Stage(name, f"{__package__}.{module}", most, least)


STAGES = (
    _stage("environment", "environment", most=30, least=5),
    _stage("compile", "compilation", most=75, least=15),
    _stage("check", "checks", most=150, least=20),
    _stage("graph", "graphs", most=75, least=10),
    _stage("ranks", "ranks", most=60, least=10),
    _stage("layers", "layers", most=110, least=10),
    _stage("profile", "profiles", most=60, least=10),
    _stage("parity", "parity", most=45, least=10),
    _stage("bench", "speed", most=130, least=15),
    _stage("train", "training", most=80, least=15),
    _stage("nvidia", "nvidia", most=160, least=15),
)
