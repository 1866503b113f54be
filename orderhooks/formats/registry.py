"""The formats by the names that subscriptions choose them by: the built-in ones, and those of the setting FORMATS."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.module_loading import import_string

from orderhooks import conf, spelling
from orderhooks.formats.chat import SlackFormat, TeamsFormat
from orderhooks.formats.cloud_events import BinaryCloudEvents, StructuredCloudEvents
from orderhooks.formats.form import FormFormat
from orderhooks.formats.outgoing import Format
from orderhooks.formats.plain import StandardFormat, ThinFormat

__all__ = ["BUILT_IN", "STANDARD", "UnknownFormatError", "asks_consent", "choices", "fault_of", "get", "names"]

STANDARD = "standard"
BUILT_IN: Mapping[str, Format] = {
    STANDARD: StandardFormat(),
    "thin": ThinFormat(),
    "cloudevents": StructuredCloudEvents(),
    "cloudevents_binary": BinaryCloudEvents(),
    "form": FormFormat(),
    "slack": SlackFormat(),
    "teams": TeamsFormat(),
}
# As long as the column `Subscription.format`.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(\s*;[\x20-\x7e]+)?")


class UnknownFormatError(ValueError):
    """No format has this name, or its class can't be used. The text says what to do."""


def names() -> list[str]:
    """The names that a subscription can choose from, the built-in ones first."""
    return [*BUILT_IN, *conf.current().formats]


def get(name: str) -> Format:
    """The format of that name. Raises UnknownFormatError."""
    if built_in := BUILT_IN.get(name):
        return built_in
    path = conf.current().formats.get(name)
    if not isinstance(path, str):
        near = spelling.nearest(name, names())
        hint = f"Did you mean {near!r}?" if near else f"The formats are: {', '.join(names())}."
        raise UnknownFormatError(f"There is no format {name!r}. {hint} A store adds its own in ORDERHOOKS['FORMATS'].")
    return _made(path)


def asks_consent(name: str) -> bool:
    """Whether endpoints must allow requests of this format first. False for an unknown one, which is never sent."""
    try:
        return get(name).asks_consent
    except UnknownFormatError:
        return False


def choices() -> list[tuple[str, str | Promise]]:
    """The formats as a field of Django takes them. One that can't be imported has its name as a label."""
    found: list[tuple[str, str | Promise]] = []
    for name in names():
        try:
            found.append((name, get(name).label or name))
        except UnknownFormatError:
            found.append((name, name))
    return found


def fault_of(value: Any) -> str:
    """What is wrong with a value of the setting FORMATS, and what to do; "" if it is valid."""
    if not isinstance(value, Mapping):
        return "Give a dict of names and dotted paths of Format classes, such as {'erp': 'shop.webhooks.ErpFormat'}."
    for name, path in value.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return f"{name!r} is not a valid name. Use up to 32 small letters, digits, _ and -."
        if name in BUILT_IN:
            return f"{name!r} is a built-in format. Choose another name."
        if not isinstance(path, str):
            return f"The path of {name!r} is not a text. Give a dotted path, such as 'shop.webhooks.ErpFormat'."
        try:
            _made(path)
        except UnknownFormatError as error:
            return str(error)
    return ""


@functools.lru_cache(maxsize=128)
def _made(path: str) -> Format:
    try:
        kind = import_string(path)
    except Exception as error:
        raise UnknownFormatError(
            f"The format {path!r} can't be imported ({type(error).__name__}: {error}). Give the dotted path of a class."
        ) from error
    if not isinstance(kind, type) or not issubclass(kind, Format):
        raise UnknownFormatError(f"{path!r} is not a class that derives from orderhooks.formats.Format.")
    try:
        made = kind()
    except Exception as error:
        raise UnknownFormatError(
            f"{path!r} can't be made ({type(error).__name__}: {error}). Its __init__ must need no arguments."
        ) from error
    if not isinstance(made.content_type, str) or not CONTENT_TYPE.fullmatch(made.content_type):
        raise UnknownFormatError(f"The content_type of {path!r} is not valid. Write it like 'application/xml'.")
    if kind.encode is Format.encode:
        raise UnknownFormatError(f"{path!r} has no method encode(event), which returns the body as bytes. Write it.")
    return made
