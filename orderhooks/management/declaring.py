"""Declaring: the subscriptions that a file says there shall be, against those there are. For `orderhooks_apply`."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

from orderhooks import operations, signing
from orderhooks.db.encrypted_fields import seal
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import AmbiguousNameError
from orderhooks.secrets import HIDDEN, Sealed, UndecryptableError

__all__ = ["DeclarationError", "Key", "Step", "carry_out", "names_in", "plan", "read"]

# What may stand in a table; what does not is at its default afterwards, but for the state.
DECLARED = (
    "name",
    "url",
    "topics",
    "store",
    "headers",
    "signature",
    "ordered",
    "max_in_flight",
    "max_per_second",
    "timeout_seconds",
    "contact_email",
    "mail_failing",
    "mail_disabled",
    "mail_recovered",
    "state",
)
REQUIRED = ("name", "url", "topics")
STATES = (Subscription.State.ACTIVE.value, Subscription.State.PAUSED.value)
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class DeclarationError(ValueError):
    """A file that can't be applied; the text has a line for each fault and says where it is."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that changes, as people may see it: a header's value is `(hidden)`."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Step:
    """What applying one table comes to: `subscription` is None for one to be made; no differences: nothing to do."""

    name: str
    subscription: Subscription | None
    differences: Sequence[Difference]
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """What the receiver of a subscription needs to check signatures with: a new secret, or a public key."""

    name: str
    text: str = field(repr=False)
    is_secret: bool


def read(path: Path) -> list[dict[str, Any]]:
    """The file's tables `[[subscriptions]]`, checked for shape alone. Raises DeclarationError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeclarationError(f"{path} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path} is not valid TOML: {error}.") from None
    tables = content.pop("subscriptions", [])
    if content or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DeclarationError(f"{path} must hold tables [[subscriptions]] and nothing else.")
    return tables


def names_in(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that the tables declare, whatever else is wrong with them."""
    return [table["name"] for table in tables if isinstance(table.get("name"), str)]


@sensitive_variables()
def plan(tables: Sequence[Mapping[str, Any]], *, path: Path, environment: Mapping[str, str] = os.environ) -> list[Step]:
    """What the tables of the file come to against the database. Raises DeclarationError that names all their faults.

    `${NAME}` in a header's value stands for a variable of the environment.
    """
    faults: list[str] = []
    steps: list[Step] = []
    names: set[str] = set()
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        where = f"{path}: [[subscriptions]] {number}" + (f" ({name})" if isinstance(name, str) and name else "")
        if isinstance(name, str) and name in names:
            faults.append(f"{where}: the name stands twice in the file.")
            continue
        if isinstance(name, str):
            names.add(name)
        found = _faults_of_shape(table)
        if not found:
            try:
                steps.append(_step(table, environment=environment))
            except ValidationError as error:
                found = _told(error)
        faults += [f"{where}: {fault}" for fault in found]
    if faults:
        raise DeclarationError("\n".join(faults))
    return steps


@sensitive_variables()
def carry_out(steps: Sequence[Step]) -> list[Key]:
    """Make and change the subscriptions, in the caller's transaction. Returns the new keys; secrets are shown once."""
    keys = []
    for step in steps:
        if step.subscription is None:
            values = dict(step.values)
            state = values.pop("state")
            made, secret = Subscription.create_with_secret(**values)
            if state == Subscription.State.PAUSED:
                operations.pause(Subscription.objects.filter(pk=made.pk))
            keys.append(_key(step.name, secret))
        elif step.differences:
            changed = {one.field: step.values[one.field] for one in step.differences}
            if "url" in changed:
                # Given again, also where they are as they were: else another host would not get them.
                changed["headers"] = step.values["headers"]
            if secret := operations.reconfigure(step.subscription, changed):
                keys.append(_key(step.name, secret))
    return keys


@sensitive_variables()
def _key(name: str, secret: str) -> Key:
    # Of a key pair only the public half is anybody else's business.
    public = signing.public_key(secret)
    return Key(name, public or secret, is_secret=not public)


def _faults_of_shape(table: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{name}: there is no such key. Known are {', '.join(DECLARED)}." for name in table if name not in DECLARED
    ]
    faults += [f"{name}: is missing." for name in REQUIRED if name not in table]
    if table.get("state", STATES[0]) not in STATES:
        faults.append(f"state: is one of {', '.join(STATES)}.")
    headers = table.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        faults.append("headers: is a table of texts.")
    for name in DECLARED:
        # Django would take 1 for true, and "5" for 5.
        wanted = _type_of(name)
        if name in table and wanted and type(table[name]) is not wanted:
            faults.append(f"{name}: is {_TYPES[wanted]}, not {table[name]!r}.")
    return faults


_TYPES: dict[type, str] = {str: "a text", bool: "true or false", int: "a whole number"}


def _type_of(name: str) -> type | None:
    if name in ("topics", "headers"):
        return None
    kind = Subscription._meta.get_field(name).get_internal_type()
    return {"BooleanField": bool, "PositiveIntegerField": int, "PositiveSmallIntegerField": int}.get(kind, str)


@sensitive_variables()
def _step(table: Mapping[str, Any], *, environment: Mapping[str, str]) -> Step:
    name = table["name"]
    subscription = _existing(name)
    values = {one: table[one] if one in table else _default(one) for one in DECLARED}
    if "state" not in table:
        values["state"] = subscription.state if subscription else STATES[0]
    headers = {header: _filled_in(value, environment) for header, value in values["headers"].items()}
    try:
        values["headers"] = seal(headers)
        wished = Subscription(**values)
        wished.full_clean(exclude=["owner", "state"])
    except ValidationError as error:
        raise ValidationError(error.messages if not hasattr(error, "error_dict") else error.message_dict) from None
    return Step(name, subscription, _differences(subscription, values), values)


def _existing(name: str) -> Subscription | None:
    try:
        # What nobody owns is the file's; what somebody made by the API is theirs.
        if found := Subscription.objects.filter(owner=None).named(name):
            return found
        owned = Subscription.objects.named(name)
    except AmbiguousNameError as error:
        raise ValidationError({"name": str(error)}) from None
    if owned is not None:
        raise ValidationError(
            {
                "name": f"{owned.public_id} has this name and belongs to {owned.owner}. Use another name, or clear its"
                " owner in the admin first."
            }
        )
    return None


def _default(name: str) -> Any:
    return Subscription._meta.get_field(name).get_default()  # type: ignore[union-attr]


def _filled_in(text: str, environment: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise ValidationError({"headers": f"the environment has no variable {match[1]}."}) from None

    return VARIABLE.sub(value_of, text)


@sensitive_variables()
def _differences(subscription: Subscription | None, values: Mapping[str, Any]) -> list[Difference]:
    if subscription is None:
        new = {name: value for name, value in values.items() if value != _default(name) or name in REQUIRED}
        return [Difference(name, "", _shown(name, value)) for name, value in new.items()]
    return [
        Difference(name, _shown(name, getattr(subscription, name)), _shown(name, value))
        for name, value in values.items()
        if not _alike(name, getattr(subscription, name), value)
    ]


@sensitive_variables()
def _alike(name: str, old: Any, new: Any) -> bool:
    if name != "headers":
        return bool(old == new)
    try:
        return _revealed(old) == _revealed(new)
    except UndecryptableError:
        return False  # given anew, it can be read again


def _revealed(headers: Mapping[str, Sealed]) -> dict[str, str]:
    return {name: value.reveal() for name, value in headers.items()}


def _shown(name: str, value: Any) -> str:
    if name == "headers":
        return ", ".join(f"{header}: {HIDDEN}" for header in value) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value in (None, "") else str(value)


def _told(error: ValidationError) -> list[str]:
    if hasattr(error, "error_dict"):
        return [f"{name}: {message}" for name, messages in error.message_dict.items() for message in messages]
    return [f"headers: {message}" for message in error.messages]
