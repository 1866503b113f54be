"""The documents hold together: links lead somewhere, files and commands that they name exist, examples are Python."""

import ast
import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from orderhooks import catalogue, topics

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]
    if "node_modules" not in path.parts
)
FILE = re.compile(r"`((?:[a-z_]+/)+[a-z_0-9]*(?:\.(?:py|md|toml))?|[a-z_]+\.py)`")


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (ROOT / document).parent / name if name else ROOT / document
        assert found.exists(), f"{document} links to {target}"
        if anchor:
            assert anchor in anchors(found.read_text()), f"{document} links to {target}"


def test_each_document_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {"README.md"}
    while new:
        document = new.pop()
        reached.add(document)
        for target in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", text_of(document)):
            if "://" not in target:
                path = ((ROOT / document).parent / target).resolve().relative_to(ROOT).as_posix()
                new |= {path} - reached
    assert set(DOCUMENTS) <= reached


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_documents_name_are_there(document: str) -> None:
    places = [ROOT, ROOT / "orderhooks", ROOT / "docs"]
    missing = [
        name
        for name in FILE.findall(text_of(document))
        if not any((place / name).exists() or (place / f"{name}.py").exists() for place in places)
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_documents_name_are_there(document: str) -> None:
    known = {name for name, app in get_commands().items() if app == "orderhooks"}
    named = set(re.findall(r"(?:manage\.py |`)(orderhooks_[a-z]+)\b", text_of(document)))
    fixtures = {"orderhooks_events"}
    metrics = {"orderhooks_subscriptions", "orderhooks_waiting", "orderhooks_objectives"}
    assert named <= known | fixtures | metrics
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text_of(document))) <= targets


def test_every_command_has_a_line_of_its_own() -> None:
    known = {name for name, app in get_commands().items() if app == "orderhooks"}
    assert set(re.findall(r"^\| `(orderhooks_[a-z]+)", text_of("docs/reference/commands.md"), re.MULTILINE)) == known


def test_every_topic_is_listed_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", text_of("docs/reference/topics.md"), re.MULTILINE)
    assert rows == [(topic.name, topic.description) for topic in (*topics.BUILT_IN, *catalogue.OPERATIONAL)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_are_python(document: str) -> None:
    for indent, block in re.findall(r"^( *)```python\n(.*?)^ *```", text_of(document), re.MULTILINE | re.DOTALL):
        ast.parse(re.sub(rf"^{indent}", "", block, flags=re.MULTILINE))


def test_the_readme_is_read_in_one_go() -> None:
    assert len(text_of("README.md").splitlines()) < 200
