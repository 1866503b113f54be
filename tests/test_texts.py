"""Every text that a person reads in the admin can be translated."""

import re
from pathlib import Path

import pytest

import orderhooks

TEMPLATES = Path(orderhooks.__file__).parent / "templates" / "admin"
# Parts of a request, and a unit: the same in every language.
NOT_TRANSLATED = {"POST", "HTTP/1.1", "ms"}


def untranslated(template: str) -> list[str]:
    """Words that a template holds as they are, between tags or in an attribute that people read."""
    text = re.sub(r"{%\s*comment.*?{%\s*endcomment\s*%}|{#.*?#}", " ", template, flags=re.S)
    text = re.sub(r"{%\s*blocktranslate.*?{%\s*endblocktranslate\s*%}", " ", text, flags=re.S)
    text = re.sub(r"{%.*?%}|{{.*?}}", " ", text, flags=re.S)
    text = re.sub(r'<input type="hidden"[^>]*>', " ", text).replace("&rsaquo;", "")
    told = re.findall(r'\b(?:title|alt|placeholder|aria-label|value)="([^"]*)"', text)
    nodes = re.sub(r"<[^>]*>", " ", text)
    words = " ".join([nodes, *told]).split()
    return [word for word in words if re.search(r"[A-Za-z]{2}", word) and word not in NOT_TRANSLATED]


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_a_template_holds_no_words_of_one_language(template: Path) -> None:
    assert untranslated(template.read_text()) == []


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("<p>{% translate 'Hello' %}</p>", []),
        ("<p>Hello {{ name }}</p>", ["Hello"]),
        ('<img alt="A dog"> <input type="hidden" value="never seen">', ["dog"]),
        ("{% blocktranslate %}Hello {{ name }}{% endblocktranslate %} &rsaquo; <b class='x'>{{ y }}</b>", []),
    ],
)
def test_words_are_found(template: str, found: list[str]) -> None:
    assert untranslated(template) == found
