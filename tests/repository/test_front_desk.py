"""What people meet beside the README: how to cite, and the forms for issues."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.environments import REPOSITORY

from ttfs_cupy.check.command import parser
from ttfs_cupy.common.version import __version__

FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_citation_is_of_this_version_and_names_both_papers() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "MIT"
    assert [work["year"] for work in citation["references"]] == [2023, 2024]
    assert all(work["authors"] and work["title"] for work in [citation, *citation["references"]])


@pytest.mark.parametrize("form", [form for form in FORMS if form.stem != "config"], ids=lambda form: form.stem)
def test_each_form_asks_for_the_report_of_check(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    assert content["name"]
    assert content["description"]
    fields = {field["id"]: field["attributes"] for field in content["body"]}
    assert all(field["label"] for field in fields.values())
    asked = fields["check"]["description"]
    commands = re.findall(r"`ttfs check ([^`]+)`", asked)
    assert commands
    for arguments in commands:
        assert parser().parse_args(arguments.split()).report


def test_there_are_forms() -> None:
    assert {form.stem for form in FORMS} == {"bug", "numbers", "idea", "config"}
