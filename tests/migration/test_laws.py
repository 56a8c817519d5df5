"""Whatever T2FSNN's JSON holds: a config, or one sentence; and the YAML file of it is the same config."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convert_config import yaml_of
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config.keys import resolve
from ttfs_cupy.migration import t2fsnn
from ttfs_cupy.migration.old_keys import T2FSNN_KEYS
from ttfs_cupy.migration.rows import table

NETWORK = "8C3 - P2 - 16F"
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, "", "adam", "1e-3", "\x1b\n"])
)
ANYTHING = st.recursive(PLAIN, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(), one, max_size=3))
KEYS = st.sampled_from(list(T2FSNN_KEYS))
NEARLY = st.sampled_from([0.1, 0.5, 1, 2, True, False, [0.5, 0.25], [0.1, None, 0.2], {"conv1": 0.1}])


def config_of(text: str, path: Path) -> Any:
    path.write_text(text)
    found = t2fsnn.translate(path, t2fsnn.read(path), "cifar10", NETWORK)
    config = resolve(found.where, found.content, found.sources)
    assert all(line == line.rstrip() and line.isprintable() for line in table(found.rows))
    return config, found


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS | st.text(), ANYTHING, max_size=5))
def test_anything_gets_a_config_or_a_sentence(tmp_path_factory: Any, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.json"
    try:
        config_of(json.dumps({"epochs": 3, "batch_size": 8, **content}), path)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, NEARLY, max_size=6))
def test_each_key_of_a_file_that_is_taken_is_told_of(tmp_path_factory: Any, content: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        config, found = config_of(json.dumps({"epochs": 3, "batch_size": 8, **content}), folder / "nearly.json")
    except UserError:
        return
    assert {row.old for row in found.rows} >= {*content, "epochs", "batch_size"}
    file = folder / "nearly.yaml"
    file.write_text(yaml_of(found.rows, config))
    assert load_config(file) == config
