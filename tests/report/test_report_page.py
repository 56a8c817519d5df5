"""A run's page, without a browser: what is in it, that it stands alone, and that what a user gave is text."""

import io
import itertools
import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import metrics
from helpers.page import Page
from PIL import Image

from ttfs_cupy.report.page import in_script
from ttfs_cupy.trained.opening import open_run

from .conftest import EVIL, reported

SECTIONS = ["run", "curves", "layers", "classes", "decisions", "mistakes", "energy"]


def test_the_page_has_its_sections_and_the_results(page: Page, run: Path) -> None:
    assert [section.attributes["id"] for section in page.root.all("section")] == SECTIONS
    links = [link.attributes["href"] for link in page.root.one("nav").all("a")]
    assert links == [f"#{name}" for name in SECTIONS]
    test = metrics(run)[-1]
    tiles = page.root.one("header", class_="top").one("dl", class_="tiles").text
    assert f"{100 * test['test_accuracy']:.2f} %" in tiles and f"{test['test_loss']:.4f}" in tiles
    facts = page.section("run").text
    config = (run / "config.yaml").read_text()
    for said in (
        str(run),
        test["device"],
        test["precision"],
        test["version"],
        "conv1",
        (run / "log.txt").read_text()[:19],
    ):
        assert said in facts
    assert f"ttfs train '{run}/config.yaml' --output '{run}-again'" in facts
    assert " ".join(config.split()) in facts
    assert page.root.all("aside") == []


def test_it_stands_alone(page: Page) -> None:
    """Nothing is fetched: no address but names of XML, and a policy that allows the page's own scripts alone."""
    for element in (*page.root.all("img"), *page.root.all("link")):
        assert element.attributes.get("src", element.attributes.get("href", "")).startswith("data:")
    assert all("src" not in script.attributes for script in page.root.all("script"))
    (policy,) = (meta.attributes["content"] for meta in page.root.all("meta") if "http-equiv" in meta.attributes)
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    scripts = ["".join(script.texts) for script in page.root.all("script") if "type" not in script.attributes]
    assert allowed == [
        b64encode(sha256(text.encode()).digest()).decode() for text in (scripts[0], scripts[2], scripts[1])
    ]
    assert not re.search(r"url\(|@import", page.root.one("style").text)
    assert not re.search(r" on\w+=", re.sub(r"<script.*?</script>", "", page.source, flags=re.DOTALL))


def test_each_chart_has_a_place_a_name_and_its_numbers(page: Page) -> None:
    ids = [chart["id"] for chart in page.data["charts"]]
    assert len(ids) == len(set(ids)) > 15
    places = [place.attributes["id"] for place in page.root.all("div") if place.attributes.get("class") == "chart"]
    assert sorted(places) == sorted(ids)
    for place in page.root.all("div", class_="chart"):
        details = [other for other in place.parent.children if other.tag == "details"]  # type: ignore[union-attr]
        assert len(details) == 1 and details[0].all("summary")
        (chart,) = (one for one in page.data["charts"] if one["id"] == place.attributes["id"])
        assert chart["description"] in details[0].text or details[0].all("table")
        assert chart["description"].endswith(".") and len(chart["description"]) > 40
    for chart in page.data["charts"]:
        names = {source["name"] for source in page.data["specs"][chart["spec"]]["data"]}
        assert set(chart["data"]) <= names, chart["id"]


def test_it_is_made_for_screen_readers(page: Page) -> None:
    root = page.root
    assert root.one("html").attributes["lang"] == "en" and root.one("title").text.startswith("first run")
    ids = [element.attributes["id"] for tag in TAGS for element in root.all(tag) if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert len(root.all("main")) == len(root.all("h1")) == len(root.all("nav")) == len(root.all("footer")) == 1
    assert root.one("a", class_="skip").attributes["href"] == "#main"
    for image in root.all("img"):
        assert image.attributes["alt"]
    for table in root.all("table"):
        assert table.one("caption").text and all("scope" in cell.attributes for cell in table.all("th"))
    levels = [int(tag[1]) for tag in re.findall(r"<(h[1-6])\b", page.source)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


TAGS = ("section", "article", "div", "main", "button", "h2", "h3", "script")


def test_the_same_run_makes_the_same_bytes(page: Page, run: Path, tmp_path: Path) -> None:
    assert reported(tmp_path, run).path.read_bytes() == page.path.read_bytes()


def test_curves_are_those_of_the_metrics(page: Page, run: Path) -> None:
    rows = page.rows("Loss by epoch")
    assert rows[0] == ["epoch", "training", "validation, averaged weights", "validation, trained weights"]
    keys = ("train_loss", "average_validation_loss", "current_validation_loss")
    epochs = metrics(run)[:-1]
    assert rows[1:] == [[str(line["epoch"]), *(f"{line[key]:.4g}" for key in keys)] for line in epochs]
    (chart,) = (chart for chart in page.data["charts"] if chart["id"] == "curve-loss")
    drawn = {(x, s): y for x, y, s in chart["data"]["rows"]["rows"]}
    for line in epochs:
        for place, key in enumerate(keys):
            assert drawn[line["epoch"], f"s{place}"] == pytest.approx(line[key], rel=1e-4)


def test_pictures_are_the_images_that_were_mistaken(page: Page, run: Path) -> None:
    opened = open_run(run)
    test = opened.experiment.test
    articles = page.section("mistakes").all("article")
    assert 1 <= len(articles) <= 12
    for article in articles:
        said = re.match(r"Image (\d+): (\d), taken for (\d)", article.one("h3").text)
        assert said is not None and said[2] != said[3]
        index = int(said[1])
        assert test.labels[index] == int(said[2])
        content = b64decode(article.one("img").attributes["src"].partition(",")[2])
        picture = np.asarray(Image.open(io.BytesIO(content)))
        expected = np.rint(test.images.images[index, ..., 0] * (255 / test.images.maximum))
        np.testing.assert_array_equal(picture, expected)


def test_what_a_user_names_is_text(evil_run: Path, evil_page: Page) -> None:
    """Names that would be elements or scripts: the page has them as texts, and no element of theirs."""
    page = evil_page
    assert page.root.one("h1").text == evil_run.name
    names = [row[0] for row in page.rows("Precision and recall by class")[1:]]
    assert sorted(names) == sorted(name[:24] if len(name) <= 24 else f"{name[:21]}..." for name in EVIL)
    assert page.root.all("b") == [] and len(page.root.all("script")) == 4
    assert all(image.attributes["src"].startswith("data:image/png") for image in page.root.all("img"))
    elements = [element for tag in ("a", "img", "td", "th", "h1", "h3", "dd", "div") for element in page.root.all(tag)]
    assert not [name for element in elements for name in element.attributes if name.startswith("on")]


def test_json_in_a_script_element_ends_nowhere() -> None:
    text = in_script('{"a":"</script><!--&\u2028\u2029"}')
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"a": "</script><!--&\u2028\u2029"}
