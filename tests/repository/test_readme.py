"""The README, and the pages that say more of the same: code runs, commands parse, and whatever is named exists."""

import contextlib
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.environments import REPOSITORY

from ttfs_cupy import models
from ttfs_cupy import train as train_command
from ttfs_cupy.experiment.config import dump_config, load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.files.run_directory import RunDirectory

ROOT = REPOSITORY
README = (ROOT / "README.md").read_text()
TRAINING, PYTHON, COMMANDS = ((ROOT / f"docs/{page}.md").read_text() for page in ("training", "python", "commands"))
LINES = 200
# what the commands make, on the machine of whoever types them
MADE_BY_COMMANDS = ("build/", "runs/", "datasets/", ".venv")
RUN_FILES = tuple(file.name for file in RunDirectory(Path("run")).files)


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def code_spans(page: str = README) -> list[str]:
    outside_blocks = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside_blocks)


def commands(page: str = README) -> list[list[str]]:
    """Every command line, in the blocks and in the text, as words."""
    lines = [line for block in blocks("sh", page) for line in block.splitlines()]
    spans = [span for span in code_spans(page) if span.startswith(("python ", "make "))]
    return [shlex.split(line, comments=True) for line in [*lines, *spans] if line.strip()]


def module_calls(module: str) -> list[list[str]]:
    """The arguments of every call of a module, here and on the page on training."""
    called = [*commands(), *commands(TRAINING)]
    return [command[3:] for command in called if command[:3] == ["python", "-m", module] and command[3:]]


def named_paths() -> set[str]:
    """Words of commands, code spans and links that look like files or folders of this repository."""
    words = {word for command in commands() for word in command[1:]}
    words |= set(code_spans())
    words |= set(re.findall(r"\]\(([^)\s]+)\)", README))
    looks_like_path = re.compile(r"[\w.][\w./-]*(/[\w./-]*|\.(py|md|yaml|ipynb|cu|cfg|toml))|LICENSE|Makefile")
    paths = {word for word in words if looks_like_path.fullmatch(word)}
    return {path for path in paths if not path.startswith(MADE_BY_COMMANDS) and path not in RUN_FILES}


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LINES


def run(code: str, name: str) -> tuple[dict[str, Any], str]:
    """Its names, and what it printed."""
    pytest.importorskip("sklearn", reason="the extra digits brings the images")
    out = io.StringIO()
    names: dict[str, Any] = {"__name__": "page"}
    with contextlib.redirect_stdout(out):
        exec(compile(code, name, "exec"), names)
    return names, out.getvalue()


def test_its_python_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 13
    names, _ = run(code, "README.md")
    assert names["spike_times"].shape[1:] == (32, 8, 8)


def test_the_page_on_python_trains_a_network_that_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", PYTHON)
    assert len([line for line in code.splitlines() if line.strip()]) <= 24
    _, printed = run(code, "docs/python.md")
    found = re.search(r"test accuracy (\d\.\d+)", printed)
    assert found, printed
    # four seeds reached 0.93 to 0.96, and rounding alone moves that by a hundredth
    assert float(found.group(1)) > 0.9
    assert [line.split()[0] for line in printed.splitlines()[1:]] == ["conv1", "pool1", "conv2", "pool2"]


def test_the_methods_that_the_text_names_exist() -> None:
    net = models.build([4, "P"], (1, 4, 4), classes=2, device="cpu")
    names = {match for span in code_spans(PYTHON) for match in re.findall(r"^net\.(\w+)", span)}
    assert {"loss_and_gradients", "state_dict", "load_state_dict", "summary"} <= names
    assert [name for name in sorted(names) if not hasattr(net, name)] == []


def test_every_named_path_exists() -> None:
    paths = named_paths()
    assert {"configs/quickstart.yaml", "benchmarks/", "docs/design.md", "LICENSE"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_named_command_exists() -> None:
    modules = {command[2] for command in commands() if command[:2] == ["python", "-m"]}
    assert {"ttfs_cupy.train", "ttfs_cupy.bench", "ttfs_cupy.check"} <= modules
    assert [module for module in sorted(modules) if find_spec(module) is None] == []

    targets = {command[1] for command in commands() if command[0] == "make"}
    assert {"train", "test", "check"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_page_on_commands_lists_them_all() -> None:
    listed = {span for span in code_spans(COMMANDS) if re.fullmatch(r"ttfs-[\w-]+", span)}
    assert listed == set(re.findall(r"^\s+(ttfs-[\w-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE))


def test_the_page_on_installation_names_every_extra() -> None:
    page = (ROOT / "docs/install.md").read_text()
    table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {extra for cell in table for extra in re.findall(r"`(\w+)`", cell)}
    setup = (ROOT / "setup.cfg").read_text()
    section = setup.split("[options.extras_require]")[1].split("\n[")[0]
    # what runs the tests is no reader's business
    assert named == set(re.findall(r"^(\w+) =", section, re.MULTILINE)) - {"test"}


def test_the_training_commands_are_accepted() -> None:
    calls = module_calls("ttfs_cupy.train")
    assert len(calls) >= 6
    for call in calls:
        parsed = train_command.parser().parse_args(call)
        # what is no YAML file is T2FSNN's, which is not at hand
        if parsed.config is not None and parsed.config.suffix != ".json":
            load_config(parsed.config, parsed.set)


def test_the_page_on_training_mentions_every_bundled_config_and_model() -> None:
    spans = set(code_spans(TRAINING))
    assert set(config_text.names()) <= spans
    assert set(models.names()) <= spans


def test_the_page_on_training_mentions_all_files_of_a_run() -> None:
    assert set(RUN_FILES) <= set(code_spans(TRAINING))


def test_it_names_keys_that_the_config_knows() -> None:
    spans = [*code_spans(), *code_spans(TRAINING)]
    dotted = {span for span in spans if re.fullmatch(r"(network|data|training|optimizer|schedule)\.\w+", span)}
    dotted |= {text.partition("=")[0] for call in module_calls("ttfs_cupy.train") for text in call if "=" in text}
    assert {"network.model", "network.convolution", "training.average", "network.psp_slope"} <= dotted
    content = yaml.safe_load(dump_config(load_config("quickstart")))
    assert [key for key in sorted(dotted) if key.split(".")[1] not in content[key.split(".")[0]]] == []


PAGES = ["CHANGELOG.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_the_other_pages_name_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    paths = re.findall(r"`((?:ttfs_cupy|models|data|configs|docs|tests|benchmarks|notebooks)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    links = [link for link in re.findall(r"\]\(([^)\s#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_code_names_sections_of_the_model_that_exist() -> None:
    headings = set(re.findall(r"^#+ (.*)$", (ROOT / "docs/model.md").read_text(), re.MULTILINE))
    files = [path for folder in ("ttfs_cupy", "tests") for path in (ROOT / folder).rglob("*.*")]
    texts = [path.read_text() for path in files if path.suffix in (".py", ".cu", ".cpp", ".h")]
    named = {heading for text in texts for heading in re.findall(r"docs/model\.md,\s+\"([^\"\n]+)\"", text)}
    assert len(named) > 5
    assert named <= headings
