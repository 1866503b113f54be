"""Versions of the body: which are registered, and the functions that turn a newer body into an older one.

Bodies are made in the newest version. `shaping` converts each to the version that its subscription is pinned to.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.utils.http import http_date
from django.utils.module_loading import import_string

from orderhooks import conf, logs, operational, payloads, spelling

__all__ = ["LONGEST", "Version", "VersionError", "convert", "fault_of", "newest", "registered", "require", "steps"]

logger = logs.get_logger(__name__)

NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LONGEST = 10
# The versions of orderhooks itself. A new one gets its `to_previous` here.
BUILT_IN: Mapping[str, Mapping[str, str]] = {payloads.API_VERSION: {"description": "The first version."}}
KEYS = ("to_previous", "description", "deprecated_at", "sunset_at", "documentation")
# A URL that may stand in a Link header: no spaces, no angle brackets, ASCII.
URL = re.compile(r"https?://[!-;=?-~]+")
# What identifies a body. A conversion leaves it as it is.
IDENTITY = ("id", "type")


class VersionError(ValueError):
    """A body can't be had in a version. The message says why and what to do, and holds no value of the body."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the body. Its name is a date, so that names sort by age.

    `to_previous`: the dotted path of the function that makes a body of the version before; blank for the oldest.
    `documentation`: the URL of a page about its end.
    """

    name: str
    description: str = ""
    to_previous: str = ""
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None
    documentation: str = ""

    def is_deprecated(self, *, now: datetime) -> bool:
        return self.deprecated_at is not None and self.deprecated_at <= now

    def is_past_sunset(self, *, now: datetime) -> bool:
        return self.sunset_at is not None and self.sunset_at <= now

    @property
    def headers(self) -> dict[str, str]:
        """The headers that announce its end, from when the settings name a date: RFC 9745 and RFC 8594."""
        found: dict[str, str] = {}
        if self.deprecated_at is not None:
            found["deprecation"] = f"@{int(self.deprecated_at.timestamp())}"
        if self.sunset_at is not None:
            found["sunset"] = http_date(self.sunset_at.timestamp())
        if found and self.documentation:
            relation = "deprecation" if self.deprecated_at is not None else "sunset"
            found["link"] = f'<{self.documentation}>; rel="{relation}"; type="text/html"'
        return found


def registered() -> dict[str, Version]:
    """The versions of orderhooks and of the setting API_VERSIONS, by name, oldest first.

    What is not valid in the setting is left out: a check reports it, and no save may fail because of it.
    """
    global _last
    current = conf.current()
    if _last[0] is not current:
        _last = (current, _read(current.api_versions))
    return _last[1]


def newest() -> str:
    """The name of the newest version, in which bodies are made."""
    return next(reversed(registered()))


def require(name: str) -> Version:
    """The version with that name. Raises VersionError."""
    known = registered()
    if name not in known:
        raise VersionError(
            f"The version {name!r} of the body is not registered. Choose one of {', '.join(known)}, or add it to "
            'ORDERHOOKS["API_VERSIONS"].'
        )
    return known[name]


def steps(older: str, newer: str) -> list[Version]:
    """The registered versions after `older`, up to `newer`, oldest first."""
    return [version for name, version in registered().items() if older < name <= newer]


def convert(body: dict[str, Any], to: str) -> dict[str, Any]:
    """The body in the version `to`. A body that was made in that version or an older one is returned as it is.

    Raises:
        VersionError: the version is not registered, or a conversion fails.
    """
    require(to)
    made_in: str = body["api_version"]
    if made_in <= to:
        return body
    if body.get("type") == payloads.REDACTED or body.get("type") in operational.TOPICS:
        return {**body, "api_version": to}
    if made_in not in registered():
        raise VersionError(
            f"The event was made in the version {made_in!r} of the body, which is not registered any more. Register it "
            'again in ORDERHOOKS["API_VERSIONS"].'
        )
    # Conversions may change what they get; the event keeps what it has. It is JSON, so this is a deep copy.
    converted: dict[str, Any] = json.loads(payloads.encode(body))
    path = steps(to, made_in)
    for version, previous in zip(reversed(path), [*(one.name for one in path[-2::-1]), to], strict=True):
        converted = _previous(version, converted)
        converted["api_version"] = previous
    _require_json(converted, path)
    return converted


def _previous(version: Version, body: dict[str, Any]) -> dict[str, Any]:
    identity = {name: body[name] for name in IDENTITY}
    try:
        function = import_string(version.to_previous)
    except Exception as error:
        raise VersionError(
            f"The version {version.name} has no function to make the version before: {version.to_previous!r} can't be "
            f'imported ({type(error).__name__}). Correct `to_previous` in ORDERHOOKS["API_VERSIONS"].'
        ) from None
    try:
        made = function(body)
    except Exception as error:
        logger.exception("the body could not be converted by %s", version.to_previous)
        # Its text may quote the order, even that of a KeyError, and users who may not see payloads read this.
        raise VersionError(
            f"{version.to_previous} raised {type(error).__name__} on this event, see the log. Fix the function."
        ) from None
    if not isinstance(made, dict):
        raise VersionError(f"{version.to_previous} returned {type(made).__name__}. Have it return the body as a dict.")
    if any(made.get(name) != value for name, value in identity.items()) or not isinstance(made.get("data"), dict):
        raise VersionError(f"{version.to_previous} changed `id` or `type`, or left no object in `data`. Keep them.")
    return made


def _require_json(body: Any, path: Iterable[Version]) -> None:
    try:
        payloads.check(body)
    except (ValueError, TypeError) as error:
        names = " or ".join(version.to_previous for version in path)
        raise VersionError(f"The body that {names} made can't be sent. {error}") from None


def fault_of(given: Any) -> str:
    """What is wrong with the setting API_VERSIONS, with the remedy. Blank if nothing is."""
    if not isinstance(given, Mapping):
        return "Give a dict: {'2027-01-15': {'to_previous': 'shop.webhooks.to_2026_11', 'description': 'What is new'}}."
    for name, entry in given.items():
        if not isinstance(name, str) or _date(name) is None:
            return f"{name!r} is not a valid version. A version is a date, such as '2027-01-15'."
        if name < payloads.API_VERSION:
            return f"{name} is older than {payloads.API_VERSION}, the first version. Give yours a later date."
        if entry is not None and not isinstance(entry, Mapping):
            return f"Give a dict for {name}, with some of: {', '.join(KEYS)}; or None, if it is withdrawn."
    withdrawn = sorted(name for name, entry in given.items() if entry is None)
    kept = sorted({*BUILT_IN, *given} - {*withdrawn})
    if not kept or (withdrawn and withdrawn[-1] > kept[0]):
        return f"{withdrawn[-1]} can't be withdrawn: it is not older than all versions that stay. Drop the None."
    for name, entry in given.items():
        if entry is None:
            continue
        fault = _fault_of_keys(name, entry) or _fault_of_dates(name, entry)
        if fault := fault or _fault_of_function(name, entry, is_oldest=name == kept[0]):
            return fault
    latest = kept[-1]
    if given.get(latest, {}).keys() & {"deprecated_at", "sunset_at"}:
        return f"{latest} is the newest version, so there is none to move to. Register a newer one, or drop its dates."
    return ""


def _fault_of_keys(name: str, entry: Mapping[Any, Any]) -> str:
    for key, value in entry.items():
        if key not in KEYS:
            near = spelling.nearest(str(key), KEYS)
            hint = f"Did you mean {near!r}?" if near else f"The keys are: {', '.join(KEYS)}."
            return f"{name} has an unknown key {key!r}. {hint}"
        if not isinstance(value, str):
            return f"Give a text for {key!r} of {name}."
    if name not in BUILT_IN and not entry.get("description"):
        return f"Describe in a sentence what is new in {name}, as 'description'; operators decide by it."
    if entry.get("documentation") and not URL.fullmatch(entry["documentation"]):
        return f"'documentation' of {name} has to be the URL of a page, such as 'https://shop.example.com/webhooks'."
    return ""


def _fault_of_dates(name: str, entry: Mapping[str, str]) -> str:
    for key in ("deprecated_at", "sunset_at"):
        if key in entry and _date(entry[key]) is None:
            return f"{entry[key]!r} is not a valid date ({key!r} of {name}). Write it such as '2028-02-01'."
    if entry.get("sunset_at", "9999") < entry.get("deprecated_at", ""):
        return f"{name} would end before it is deprecated. Give a 'sunset_at' that is not before 'deprecated_at'."
    return ""


def _fault_of_function(name: str, entry: Mapping[str, str], *, is_oldest: bool) -> str:
    path = entry.get("to_previous", "")
    if name in BUILT_IN:
        return f"{name} is a version of orderhooks, which converts it itself. Drop its 'to_previous'." if path else ""
    if not path and is_oldest:
        return ""
    if not path:
        return (
            f"The chain of versions has a gap: {name} has no 'to_previous', the dotted path of a function that takes "
            "its body and returns that of the version before."
        )
    try:
        function = import_string(path)
    except Exception as error:
        return f"{path!r} of {name} can't be imported ({error}). Give the dotted path of a function of a body."
    return "" if callable(function) else f"{path!r} of {name} is not a function. Give one that takes a body."


def _read(given: Any) -> dict[str, Version]:
    own = given.items() if isinstance(given, Mapping) else ()
    entries: dict[str, Mapping[str, Any]] = dict(BUILT_IN)
    for name, entry in own:
        if entry is None:
            entries.pop(name, None)
        elif isinstance(name, str) and _date(name) and isinstance(entry, Mapping):
            entries[name] = {**entries.get(name, {}), **entry}
    entries = entries or dict(BUILT_IN)
    return {name: _version(name, entries[name]) for name in sorted(entries)}


def _version(name: str, entry: Mapping[str, Any]) -> Version:
    texts = {key: value for key, value in entry.items() if key in KEYS and isinstance(value, str)}
    times = {key: _date(texts.pop(key)) for key in ("deprecated_at", "sunset_at") if key in texts}
    documentation = texts.pop("documentation", "")
    if not URL.fullmatch(documentation):
        documentation = ""
    return Version(name=name, documentation=documentation, **texts, **times)  # type: ignore[arg-type]


def _date(text: str) -> datetime | None:
    """The beginning of the day in UTC; None if it is not a date."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) if NAME.fullmatch(text) else None
    except ValueError:
        return None


_last: tuple[conf.Settings | None, dict[str, Version]] = (None, {})
