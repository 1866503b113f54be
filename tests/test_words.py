"""One word for one thing: the words that are not used, in code and in what people read, each with the word to use."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
# In names and texts of the code, and in the documents.
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
    r"\bsole_declaration\b": "declaration_lock",
    # As a name; in texts it is English.
    r"\.answer\b|\b_answer\b|\banswer(?: ?=|[(\[]|: \w+(?:,| =)|\.\w)|\bAnswer\b": "response, verdict, confirmation",
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
    # What a receiver or the API sends back is a response.
    r"\b(?:an|the|no|its|same|last|whole|not|never|it|that|who|which|kept|API|broker|endpoint|receiver|shop) answer"
    r"(?:s|ed)?\b(?! =)|\banswer(?:s|ed|ing)? (?:[0-9]|with\b|at once|to\b)": "response, responds with",
    r"\btold\b|\btells? (?:whether|which|how|what|why|when|that|of|it|the|apart|its)\b": "says, shows, reports",
    r"\bowe[sd]?\b|\bowing\b": "waits; a delivery",
    r"\bmoments?\b": "time, now, meanwhile",
    r"\bwhom\b|\b[Tt]hose who\b|\b[Ww]hoever\b": "the noun: users, a process",
    r"(?:[;:,]|\bwould|\bcould|\bmay|\bmust) else\b": "otherwise",
    r"\bknows\b": "has, uses, contains",
    r"\bwhat (?:there is|is there)\b": "the noun",
    r"\bask(?:s|ed|ing)? the (?:database|server|queue|system|table|resolver)\b": "query, call, read",
}
# In names of tests.
NAMES = {
    r"def test\w*_(?:told|tells?|owe[sd]?|answer(?:s|ed)?|moments?|mended|whom|story|stories|bell|room|so_many)[_(]": (
        "what is checked"
    ),
}
SOURCES = [
    path
    for folder in ("orderhooks", "example_project", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".html", ".txt"} and "migrations" not in path.parts
    # The environments of `make bench-peers` are in a folder that begins with a dot.
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
PROGRAMS = [
    path
    for folder in ("orderhooks", "example_project", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]


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


def test_code_and_documents_speak_the_fields_words() -> None:
    assert found(CODE, [*SOURCES, *DOCUMENTS]) == []


def test_what_people_read_is_plain_english() -> None:
    assert found(ENGLISH, [*SOURCES, *DOCUMENTS]) == []


def test_names_of_tests_are_plain_english() -> None:
    assert found(NAMES, TESTS) == []


def test_the_glossary_has_the_terms_that_the_code_uses() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    words = text.partition("## Words")[2].partition("\n## ")[0]
    for term in ("order source", "captured change", "net change", "event", "delivery", "attempt", "pump", "lease"):
        assert re.search(rf"^\| [^|]*\b{term}\b", words, re.MULTILINE), term


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
