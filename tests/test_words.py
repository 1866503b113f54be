"""One word for one thing: the words that are not used, in code and in what people read, each with the word to use."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# In names and texts of the code.
CODE = {
    r"\bnoting\b|\bnetting\b|\bfolding\b|\bfold(?:ed|s)?\b": "capturing, net changes, coalescing",
    r"\brehears\w+": "previews",
    r"\bbell\b": "Wakeup",
    r"\bcool(?:ing_until|ings)\b|\bramp\b": "circuit breaker: circuit_open_until, slow start",
    r"\btall(?:y|ies)\b": "attempt statistics",
    r"\bdice\b": "jitter",
    r"\b[Ss]tandings?\b": "SubscriptionOutcome, status",
    r"\baccounts? (?:of|for)\b|\bAccount\b": "report",
    r"\blanes?\b": "EndpointQueue, DueSubscription",
    r"\bdial(?:led|s)?\b": "connect",
    r"\bunwell\b": "unhealthy",
    r"\bnote_(?:change|success|failure|moment)\b": "log_change, record_success, record_failure",
    r"\bDatabase(?:Replays|Sequences)\b|\bCache(?:Replays|Sequences)\b": "Deduplicator, SequenceGuard",
}
# In what people read: no riddles, no old-fashioned turns.
ENGLISH = {
    r"\bmend(?:ed|s)?\b": "fix",
    r"\bfor want of\b": "because ... is missing",
    r"\bdear(?:er|est)?\b(?!\s+[A-Z])": "expensive",
    r"\bso many\b": "at most N, the number",
    r"\bwhat becomes of\b": "what should happen to",
    r"\bthrough already\b": "already finished",
    r"[\"”’'}\])] is no \w+": "is not a valid ...",
    r"\bsomebody paused\b": "paused by",
}
SOURCES = [
    path
    for folder in ("orderhooks", "example_project")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".html", ".txt"} and "migrations" not in path.parts
]
PROGRAMS = [
    path
    for folder in ("orderhooks", "example_project", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def found(words: dict[str, str], paths: list[Path]) -> list[str]:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}"
        for path in paths
        if "node_modules" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for pattern, instead in words.items()
        if (match := re.search(pattern, line))
    ]
    return sorted(set(lines))


def test_the_code_speaks_the_fields_words() -> None:
    assert found(CODE, SOURCES) == []


def test_what_people_read_is_plain_english() -> None:
    assert found(ENGLISH, [*SOURCES, *DOCUMENTS]) == []


def test_the_glossary_has_the_terms_that_the_code_uses() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    words = text.partition("## Words")[2].partition("\n## ")[0]
    for term in ("order source", "captured change", "net change", "event", "delivery", "attempt", "pump", "lease"):
        assert re.search(rf"^\| [^|]*\b{term}\b", words, re.MULTILINE), term


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
