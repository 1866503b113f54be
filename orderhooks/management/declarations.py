"""Declarations: compare the subscriptions that a TOML file declares with the database, and apply the difference.

For `orderhooks_apply`.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

from orderhooks import operations, signing
from orderhooks.db.encrypted_fields import seal
from orderhooks.db.sealed_logins import seal_authentication, seal_certificate
from orderhooks.encryption import HIDDEN, Sealed, UndecryptableError
from orderhooks.models import Subscription
from orderhooks.models.compatibility import KIND_KEPT
from orderhooks.models.configuration import CONFIGURABLE, REQUIRED
from orderhooks.models.subscriptions import AmbiguousNameError

__all__ = ["DeclarationError", "SigningKey", "Step", "apply", "names_in", "plan", "read"]

STATES = (Subscription.State.ACTIVE.value, Subscription.State.PAUSED.value)
# The columns whose tables may hold `${VARIABLE}`, and what seals them.
SEALED: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
    "headers": seal,
    "authentication": seal_authentication,
    "client_certificate": seal_certificate,
}
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class DeclarationError(ValueError):
    """The file can't be applied. The message has one line for each fault, with its place in the file."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that changes, as text that may be shown: values of headers and secrets of logins are `(hidden)`."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Step:
    """What applying one table changes.

    `subscription` is None if one has to be created. Without `differences` there is nothing to do.
    """

    name: str
    subscription: Subscription | None
    differences: Sequence[Difference]
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key with which a receiver verifies signatures: a new shared secret, or a new public key."""

    name: str
    text: str = field(repr=False)
    is_secret: bool


def read(path: Path) -> list[dict[str, Any]]:
    """The file's `[[subscriptions]]` tables. Their content is not checked here.

    Raises:
        DeclarationError: the file can't be read, is not TOML, or holds anything else.
    """
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
    """The names that the tables declare, also if the tables have other faults."""
    return [table["name"] for table in tables if isinstance(table.get("name"), str)]


@sensitive_variables()
def plan(tables: Sequence[Mapping[str, Any]], *, path: Path, environment: Mapping[str, str] = os.environ) -> list[Step]:
    """Compare the tables of the file with the database; one step for each table. Nothing is written.

    `${NAME}` in the value of a header or of a login is replaced by that variable of `environment`.

    Raises:
        DeclarationError: any table has a fault. The message lists the faults of all tables.
    """
    faults: list[str] = []
    steps: list[Step] = []
    names: set[str] = set()
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        where = f"{path}: [[subscriptions]] {number}" + (f" ({name})" if isinstance(name, str) and name else "")
        if isinstance(name, str) and name in names:
            faults.append(f"{where}: the name is used twice in the file.")
            continue
        if isinstance(name, str):
            names.add(name)
        found = _faults_of_shape(table)
        if not found:
            try:
                steps.append(_step(table, environment=environment))
            except ValidationError as error:
                found = _messages(error)
        faults += [f"{where}: {fault}" for fault in found]
    if faults:
        raise DeclarationError("\n".join(faults))
    return steps


@sensitive_variables()
def apply(steps: Sequence[Step]) -> list[SigningKey]:
    """Create and change the subscriptions. Call it in a transaction: an error has to undo all steps.

    Returns the new signing keys. Secrets can't be read again later.
    """
    keys = []
    for step in steps:
        if step.subscription is None:
            values = dict(step.values)
            state = values.pop("state")
            created, secret = Subscription.create_with_secret(**values)
            if state == Subscription.State.PAUSED:
                operations.pause(Subscription.objects.filter(pk=created.pk))
            keys.append(_signing_key(step.name, secret))
        elif step.differences:
            changed = {one.field: step.values[one.field] for one in step.differences}
            if "url" in changed:
                # They are bound to a host, so they are given again for the new one, even if unchanged.
                changed |= {name: step.values[name] for name in SEALED}
            if secret := operations.reconfigure(step.subscription, changed):
                keys.append(_signing_key(step.name, secret))
    return keys


@sensitive_variables()
def _signing_key(name: str, secret: str) -> SigningKey:
    # The private half of a key pair is never shown.
    public = signing.public_key(secret)
    return SigningKey(name, public or secret, is_secret=not public)


def _faults_of_shape(table: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{name}: is not a known key. Known keys: {', '.join(CONFIGURABLE)}."
        for name in table
        if name not in CONFIGURABLE
    ]
    faults += [f"{name}: is missing." for name in REQUIRED if name not in table]
    if table.get("state", STATES[0]) not in STATES:
        faults.append(f"state: must be one of {', '.join(STATES)}.")
    for name in SEALED:
        texts = table.get(name, {})
        if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
            faults.append(f"{name}: must be a table of texts.")
    for name in CONFIGURABLE:
        # Django would take 1 for true, and "5" for 5.
        expected = _type_of(name)
        if name in table and expected and type(table[name]) not in _ACCEPTED.get(expected, (expected,)):
            faults.append(f"{name}: must be {_TYPES[expected]}, not {table[name]!r}.")
    return faults


_TYPES: dict[type, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
_KINDS: dict[str, type] = {
    "BooleanField": bool,
    "PositiveIntegerField": int,
    "PositiveSmallIntegerField": int,
    "FloatField": float,
}
# 99 is a number too.
_ACCEPTED: dict[type, tuple[type, ...]] = {float: (float, int)}


def _type_of(name: str) -> type | None:
    if name in ("topics", "changed_fields", *SEALED):
        return None
    kind = Subscription._meta.get_field(name).get_internal_type()
    return _KINDS.get(kind, str)


@sensitive_variables()
def _step(table: Mapping[str, Any], *, environment: Mapping[str, str]) -> Step:
    name = table["name"]
    subscription = _existing(name)
    values = {one: table[one] if one in table else _default(one) for one in CONFIGURABLE}
    if subscription is not None and subscription.operational != values["operational"]:
        raise ValidationError({"operational": str(KIND_KEPT)})
    if "state" not in table:
        values["state"] = subscription.state if subscription else STATES[0]
    kept = []
    if "api_version" not in table and subscription is not None:
        # A release with a newer version moves no subscription on.
        values["api_version"], kept = subscription.api_version, ["api_version"]
    for sealed, seal_values in SEALED.items():
        texts = {one: _substituted(value, environment, where=sealed) for one, value in values[sealed].items()}
        try:
            values[sealed] = seal_values(texts)
        except ValidationError as error:
            raise ValidationError({sealed: error.messages}) from None
    try:
        declared = Subscription(**values)
        declared.full_clean(exclude=["owner", "state", *kept])
    except ValidationError as error:
        raise ValidationError(error.messages if not hasattr(error, "error_dict") else error.message_dict) from None
    return Step(name, subscription, _differences(subscription, values), values)


def _existing(name: str) -> Subscription | None:
    try:
        # The file manages subscriptions without an owner. One that a user created through the API belongs to the user.
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


def _substituted(text: str, environment: Mapping[str, str], *, where: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise ValidationError({where: f"the environment has no variable {match[1]}."}) from None

    return VARIABLE.sub(value_of, text)


@sensitive_variables()
def _differences(subscription: Subscription | None, values: Mapping[str, Any]) -> list[Difference]:
    if subscription is None:
        new = {name: value for name, value in values.items() if value != _default(name) or name in REQUIRED}
        return [Difference(name, "", _display(name, value)) for name, value in new.items()]
    return [
        Difference(name, _display(name, getattr(subscription, name)), _display(name, value))
        for name, value in values.items()
        if not _is_equal(name, getattr(subscription, name), value)
    ]


@sensitive_variables()
def _is_equal(name: str, old: Any, new: Any) -> bool:
    if name not in SEALED:
        return bool(old == new)
    try:
        return _reveal(old) == _reveal(new)
    except UndecryptableError:
        return False  # writing the declared values makes them readable again


@sensitive_variables()
def _reveal(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Sealed) else value for name, value in values.items()}


def _display(name: str, value: Any) -> str:
    if name == "headers":
        return ", ".join(f"{header}: {HIDDEN}" for header in value) or "none"
    if name in SEALED:
        shown = {one: HIDDEN if isinstance(text, Sealed) else text for one, text in value.items()}
        return ", ".join(f"{one}: {text}" for one, text in shown.items() if one != "certificate") or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value in (None, "") else str(value)


def _messages(error: ValidationError) -> list[str]:
    if hasattr(error, "error_dict"):
        return [f"{name}: {message}" for name, messages in error.message_dict.items() for message in messages]
    return [f"headers: {message}" for message in error.messages]
