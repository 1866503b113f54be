"""Redaction: remove secrets from what is stored of an exchange, also where a receiver echoes them.

It runs before texts are cut to their length, so that no part of a secret is left at the cut.

# Note [Windows of secrets]
There may be thousands of secrets that share a core, and a response may repeat that core. Searching for one secret after
the other would take the product of both lengths. So each position of the response is looked up in sets, once for each
length. The sets hold secrets shorter than LONGEST_WINDOW as a whole, and of longer ones each run of LONGEST_WINDOW
characters. The time is linear in the length of the response and of the secrets (the idea of Rabin and Karp, with the
hashes of Python's strings). Encodings are handled by decoding the response once, not by encoding each secret.
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
# Shorter texts occur in many responses and protect nothing.
SHORTEST = 4
SHORTEST_WORD = 8
# Any run of this many characters of a longer secret is removed.
LONGEST_WINDOW = 16
# Up to this product of blocks and characters, searching for each block is the fastest.
MOST_COMPARED = 1_000_000
WORD = re.compile(r"[^\s,;=]+")
# Headers whose values are credentials.
CREDENTIALS = re.compile(r"(proxy-)?authorization|(set-)?cookie2?|.*signature.*|x-shopify-hmac-sha256", re.IGNORECASE)


@functools.lru_cache(maxsize=256)
def is_credential(header: str) -> bool:
    """Whether a header of this name holds credentials, so that its value is never stored."""
    return CREDENTIALS.fullmatch(header) is not None


# The encodings in which receivers echo texts: a pattern for one encoded character, a pattern for an incomplete one at
# the cut end of a response, and a function that decodes it.
Encoding = tuple[re.Pattern[str], re.Pattern[str], Callable[[str], str]]
PERCENT = "%[0-7][0-9a-f]|%[cd][0-9a-f]%[89ab][0-9a-f]|%e[0-9a-f](?:%[89ab][0-9a-f]){2}|%f[0-7](?:%[89ab][0-9a-f]){3}"
PERCENT_BEGUN = re.compile("%(?:[c-f]?[0-9a-f]?(?:%[89ab]?[0-9a-f]?){0,3})?$", re.IGNORECASE)
# A receiver may fill its response with encoded characters. There are few different ones of each kind.
remembered = functools.lru_cache(maxsize=1024)
ENCODINGS: dict[str, Encoding] = {
    "\\": (
        re.compile(r'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])'),
        re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$"),
        remembered(lambda found: json.loads(f'"{found}"')),
    ),
    "&": (
        re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});"),
        re.compile(r"&#?[0-9A-Za-z]{0,31}$"),
        remembered(html.unescape),
    ),
    "%": (re.compile(PERCENT, re.IGNORECASE), PERCENT_BEGUN, remembered(unquote)),
    "+": (
        re.compile(rf"\+|{PERCENT}", re.IGNORECASE),
        PERCENT_BEGUN,
        remembered(lambda found: " " if found == "+" else unquote(found)),
    ),
}


class Redactor:
    """Removes the given texts from others, also in the encodings in which a receiver may echo them.

    See Note [Windows of secrets]. The time is linear in the lengths of both.
    """

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = [part for text in texts for part in _forms(text)]

    @functools.cached_property
    def _parts(self) -> set[str]:
        """The texts to remove as a whole. A longer word needs no entry: the windows of its text cover it."""
        wholes = {whole for text in self._texts for whole in _wholes(text)}
        return wholes | {word for word in self._words if len(word) < LONGEST_WINDOW}

    @functools.cached_property
    def _words(self) -> set[str]:
        return {word for text in self._texts for word in WORD.findall(text) if len(word) >= SHORTEST_WORD}

    @functools.cached_property
    def _windows(self) -> dict[int, set[str]]:
        """The windows to search for, by their length."""
        windows: dict[int, set[str]] = {}
        for part in self._parts:
            size = min(len(part), LONGEST_WINDOW)
            # A window that begins or ends with a space would remove spaces that are not secret.
            runs = (part[at : at + size] for at in range(len(part) - size + 1))
            windows.setdefault(size, set()).update(run for run in runs if run == run.strip())
        return windows

    @functools.cached_property
    def _blocks(self) -> set[str]:
        """Texts of which every removed text contains at least one, because a window is twice as long as a block."""
        size = LONGEST_WINDOW // 2
        parts = self._parts
        return {part[at : at + size] for part in parts for at in range(0, max(1, len(part) - size + 1), size)}

    def _may_be_in(self, text: str) -> bool:
        """A quick test that is nearly always negative. It is skipped where it would take long."""
        if len(self._blocks) * len(text) > MOST_COMPARED:
            return True
        for block in self._blocks:  # noqa: SIM110  # any() takes twice as long
            if block in text:
                return True
        return False

    @functools.cached_property
    def _beginnings(self) -> dict[int, set[str]]:
        """The beginnings of parts, by their length. A window can't recognize a part that the cut leaves shorter."""
        lengths = range(SHORTEST, LONGEST_WINDOW)
        parts = self._parts | self._words
        return {size: {part[:size] for part in parts if len(part) > size} for size in lengths}

    def all(self, texts: Sequence[str]) -> Sequence[str]:
        """Redact each text. Nearly always one search through all of them together finds nothing."""
        together = "\n".join(texts)
        return texts if self(together) == together else [self(text) for text in texts]

    def __call__(self, text: str, *, cut: bool = False) -> str:
        """Redact the text. `cut`: it was cut, so that it may end in the middle of a secret."""
        if len(text) < SHORTEST or not self._texts:
            return text
        if self._shows_in(text, cut=cut):
            text = self._without(text, text, range(len(text) + 1), cut=cut)
        for mark, (pattern, begun, decode) in ENCODINGS.items():
            if mark in text:
                match = begun.search(text, max(0, len(text) - 40)) if cut else None
                end = match.start() if match else len(text)
                # Where each character came from is only needed if something is found.
                if self._shows_in(_decoded(text[:end], pattern, decode), cut=cut):
                    text = self._without(text, *_read(text, end, pattern, decode), cut=cut)
        return text

    def _shows_in(self, read: str, *, cut: bool) -> bool:
        return self._may_be_in(read) or (cut and any(self._begun_at_end(read)))

    def _without(self, text: str, read: str, places: Sequence[int], *, cut: bool) -> str:
        """Redact `text` where `read`, its decoded form, holds secrets.

        `places` has the position in `text` of each character of `read`, and of its end.
        """
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
            found += [(len(read) - size, len(read)) for size in self._begun_at_end(read)]
        return sorted(found)

    def _begun_at_end(self, read: str) -> Iterator[int]:
        """How many of the last characters are the beginning of a part, for each number that is."""
        return (size for size, begun in self._beginnings.items() if read[-size:] in begun)


def _joined(spans: Collection[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge sorted spans that overlap."""
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


def _decoded(text: str, pattern: re.Pattern[str], decode: Callable[[str], str]) -> str:
    return pattern.sub(lambda found: decode(found[0]), text)


def _read(text: str, end: int, pattern: re.Pattern[str], decode: Callable[[str], str]) -> tuple[str, list[int]]:
    """Decode the text up to `end`. Also returns the position in `text` of each decoded character."""
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
    """The text, and its Latin-1 bytes as a receiver sees them that decodes them as UTF-8."""
    return {text} if text.isascii() else {text, safe_text(text.encode("latin-1", "replace"))}


def _wholes(text: str) -> Iterator[str]:
    """The text and, for Basic, the login and the password that are encoded in it."""
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
