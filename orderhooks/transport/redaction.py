"""Redaction: what must not be stored of an exchange, also where a receiver echoes it.

Called before anything is cut to length, so that no half of a secret is left at the cut.

# Note [Windows of secrets]
A text may hold thousands of secret words with the same core, and an answer may repeat the core: looking for one after
the other takes as long as all of them times the answer. So each place of the answer is looked up in a set, once for
each length: of what is shorter than LONGEST_WINDOW the whole, of what is longer each run of so many characters. The
time grows with the length of the answer and of the secrets, and of no product (Karp and Rabin's idea, with the hashes
of Python's strings). Spellings are read, not written: an answer is decoded, and not each secret encoded.
"""

import base64
import binascii
import functools
import html
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from urllib.parse import unquote

from orderhooks.transport.text import safe_text

REDACTED = "(redacted)"
# Shorter texts stand in every other answer and guard nothing.
SHORTEST = 4
SHORTEST_WORD = 8
# So many characters in a row of a longer secret are taken out, wherever they stand in it.
LONGEST_WINDOW = 16
# Blocks times characters: up to here one look for each block is quickest.
MOST_COMPARED = 1_000_000
WORD = re.compile(r"[^\s,;=]+")
# Headers whose values are credentials, whoever sends them.
CREDENTIALS = re.compile(r"(proxy-)?authorization|(set-)?cookie2?|.*signature.*|x-shopify-hmac-sha256", re.IGNORECASE)


@functools.lru_cache(maxsize=256)
def is_credential(header: str) -> bool:
    """Whether the values of headers of this name are never stored."""
    return CREDENTIALS.fullmatch(header) is not None


# How receivers spell what they echo: what stands for one character, what may be the beginning of that where an answer
# is cut, and how to read it.
Spelling = tuple[re.Pattern[str], re.Pattern[str], Callable[[str], str]]
PERCENT = "%[0-7][0-9a-f]|%[cd][0-9a-f]%[89ab][0-9a-f]|%e[0-9a-f](?:%[89ab][0-9a-f]){2}|%f[0-7](?:%[89ab][0-9a-f]){3}"
PERCENT_BEGUN = re.compile("%(?:[c-f]?[0-9a-f]?(?:%[89ab]?[0-9a-f]?){0,3})?$", re.IGNORECASE)
SPELLINGS: dict[str, Spelling] = {
    "\\": (
        re.compile(r'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])'),
        re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$"),
        lambda found: json.loads(f'"{found}"'),
    ),
    "&": (
        re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});"),
        re.compile(r"&#?[0-9A-Za-z]{0,31}$"),
        html.unescape,
    ),
    "%": (re.compile(PERCENT, re.IGNORECASE), PERCENT_BEGUN, unquote),
    "+": (
        re.compile(rf"\+|{PERCENT}", re.IGNORECASE),
        PERCENT_BEGUN,
        lambda found: " " if found == "+" else unquote(found),
    ),
}


class Redactor:
    """Takes the given texts out of others, in the spellings in which a receiver would echo them.

    See Note [Windows of secrets]. The time is linear in the lengths of both.
    """

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = [part for text in texts for part in _forms(text)]

    @functools.cached_property
    def _parts(self) -> set[str]:
        """What is taken out whole; of a longer word its text has all windows."""
        wholes = {whole for text in self._texts for whole in _wholes(text)}
        return wholes | {word for word in self._words if len(word) < LONGEST_WINDOW}

    @functools.cached_property
    def _words(self) -> set[str]:
        return {word for text in self._texts for word in WORD.findall(text) if len(word) >= SHORTEST_WORD}

    @functools.cached_property
    def _windows(self) -> dict[int, set[str]]:
        """What to look for, by its length."""
        windows: dict[int, set[str]] = {}
        for part in self._parts:
            size = min(len(part), LONGEST_WINDOW)
            # None begins or ends with a space, which is nobody's secret.
            runs = (part[at : at + size] for at in range(len(part) - size + 1))
            windows.setdefault(size, set()).update(run for run in runs if run == run.strip())
        return windows

    @functools.cached_property
    def _blocks(self) -> set[str]:
        """Of these, whatever is taken out holds one: a window is twice as long as a block."""
        size = LONGEST_WINDOW // 2
        parts = self._parts
        return {part[at : at + size] for part in parts for at in range(0, max(1, len(part) - size + 1), size)}

    def _may_be_in(self, text: str) -> bool:
        """A quick look, which nearly always says no; not worth it where it would be long."""
        if len(self._blocks) * len(text) > MOST_COMPARED:
            return True
        for block in self._blocks:  # noqa: SIM110  # any() takes twice as long
            if block in text:
                return True
        return False

    @functools.cached_property
    def _beginnings(self) -> dict[int, set[str]]:
        """What a part may begin with, by its length, where a window would not know it."""
        lengths = range(SHORTEST, LONGEST_WINDOW)
        parts = self._parts | self._words
        return {size: {part[:size] for part in parts if len(part) > size} for size in lengths}

    def all(self, texts: Sequence[str]) -> Sequence[str]:
        """Each without them. Nearly always one look at all of them together tells that there are none."""
        together = "\n".join(texts)
        return texts if self(together) == together else [self(text) for text in texts]

    def __call__(self, text: str, *, cut: bool = False) -> str:
        """The text without them. `cut`: it may end in the middle of one."""
        if len(text) < SHORTEST or not self._texts:
            return text
        text = self._without(text, text, range(len(text) + 1), cut=cut)
        for mark, (pattern, begun, decode) in SPELLINGS.items():
            if mark in text:
                end = begun.search(text, max(0, len(text) - 40)) if cut else None
                text = self._without(text, *_read(text, end.start() if end else len(text), pattern, decode), cut=cut)
        return text

    def _without(self, text: str, read: str, places: Sequence[int], *, cut: bool) -> str:
        """`read` is the text as one spelling has it; `places` are where its characters stand, and its end."""
        if not cut and not self._may_be_in(read):
            return text
        kept, end = [], 0
        for begin, stop in _joined(self._found(read, cut=cut)):
            at_end = cut and stop == len(read)
            kept += [text[end : places[begin]], REDACTED]
            end = len(text) if at_end else places[stop]
        return "".join([*kept, text[end:]]) if kept else text

    def _found(self, read: str, *, cut: bool) -> list[tuple[int, int]]:
        found = [
            (at, at + size)
            for size, windows in self._windows.items()
            for at in range(len(read) - size + 1)
            if read[at : at + size] in windows
        ]
        if cut:
            ends = (size for size, begun in self._beginnings.items() if read[-size:] in begun)
            found += [(len(read) - size, len(read)) for size in ends]
        return sorted(found)


def _joined(spans: Collection[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted spans, those that overlap as one."""
    begin = stop = -1
    for first, last in spans:
        if first < stop:
            stop = max(stop, last)
            continue
        if stop > 0:
            yield begin, stop
        begin, stop = first, last
    if stop > 0:
        yield begin, stop


def _read(text: str, end: int, pattern: re.Pattern[str], decode: Callable[[str], str]) -> tuple[str, list[int]]:
    """The text up to `end` decoded, and where each of its characters stands."""
    parts: list[str] = []
    places: list[int] = []
    at = 0
    for match in pattern.finditer(text, 0, end):
        decoded = decode(match[0])
        parts += [text[at : match.start()], decoded]
        places += [*range(at, match.start()), *[match.start()] * len(decoded)]
        at = match.end()
    return "".join([*parts, text[at:end]]), [*places, *range(at, end + 1)]


def _forms(text: str) -> set[str]:
    """As it is, and as the bytes that were sent look to those who take them for UTF-8."""
    return {text} if text.isascii() else {text, safe_text(text.encode("latin-1", "replace"))}


def _wholes(text: str) -> Iterator[str]:
    """The text, and the password that Basic only encodes. Its words (`Bearer …`, signatures) are looked for besides."""
    if len(text) >= SHORTEST:
        yield text
    scheme, _space, credentials = text.partition(" ")
    if scheme.lower() == "basic":
        try:
            login = base64.b64decode(credentials).decode()
        except (binascii.Error, ValueError):
            return
        for part in (login, login.partition(":")[2]):
            yield from (form for form in _forms(part) if len(form) >= SHORTEST)
