"""Columns that hold what orders contain: encrypted when they are written, if the setting ENCRYPT_PAYLOADS is on.

Both forms are read at any time, so the setting can be turned on and off. `rewrite` brings older rows into line.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf, encryption
from orderhooks.db.locks import brief_transaction
from orderhooks.encryption import Purpose, UndecryptableError

__all__ = [
    "EncryptedJSONField",
    "EncryptedTextField",
    "UnreadableRecord",
    "maybe_encrypted",
    "require_readable",
    "rewrite",
]

# The keys of the stored JSON object. No field of a model has such a name.
TOKEN, KEY = "orderhooks:encrypted", "orderhooks:key"
# How a stored text begins. A text in the clear that begins so is encrypted in any case.
PREFIX = "encrypted:"
ROWS_AT_ONCE = 100


class UnreadableText(str):
    """Stands for text whose key is missing: a type, because a receiver may respond with the same letters."""

    __slots__ = ()


UNREADABLE = UnreadableText("(This can't be decrypted: its key is missing in ENCRYPTION_KEYS.)")


class UnreadableRecord(Mapping[str, Any]):
    """Stands for JSON whose key is missing. Any use raises UndecryptableError.

    It keeps the reason and not the error, whose traceback would keep the query's frames and its open cursor.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __getitem__(self, key: str) -> Any:
        raise UndecryptableError(self.reason)

    def __iter__(self) -> Iterator[str]:
        raise UndecryptableError(self.reason)

    def __len__(self) -> int:
        raise UndecryptableError(self.reason)

    def __repr__(self) -> str:
        return UNREADABLE


def require_readable(value: Any) -> None:
    """Raises UndecryptableError if the value of an EncryptedJSONField can't be read."""
    if isinstance(value, UnreadableRecord):
        raise UndecryptableError(value.reason)


class EncryptedJSONField(models.JSONField):
    """JSON, stored as it is or as an object of a Fernet token and the id of its key. NULL stays NULL.

    What can't be decrypted is read as an `UnreadableRecord`.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        stored = super().from_db_value(value, expression, connection)
        if not _is_encrypted(stored):
            return stored
        try:
            return json.loads(encryption.decrypt(stored[TOKEN], Purpose.RECORD))
        except UndecryptableError as error:
            return UnreadableRecord(str(error))

    @sensitive_variables()
    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        require_readable(prepared)
        if prepared is None or hasattr(prepared, "as_sql") or not conf.current().encrypt_payloads:
            return prepared
        token = encryption.encrypt(json.dumps(prepared, cls=self.encoder), Purpose.RECORD)
        return {TOKEN: token, KEY: encryption.newest_key_id(Purpose.RECORD)}


class EncryptedTextField(models.TextField):
    """Text, stored as it is or as `encrypted:<id of the key>:<Fernet token>`. Blank stays blank.

    What can't be decrypted is read as UNREADABLE.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if not value or not value.startswith(PREFIX):
            return value
        try:
            return encryption.decrypt(value.rpartition(":")[2], Purpose.RECORD)
        except UndecryptableError:
            return UNREADABLE

    @sensitive_variables()
    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        if not prepared or not (conf.current().encrypt_payloads or prepared.startswith(PREFIX)):
            return prepared
        return f"{PREFIX}{encryption.newest_key_id(Purpose.RECORD)}:{encryption.encrypt(prepared, Purpose.RECORD)}"


def maybe_encrypted(name: str) -> Q:
    """The rows in which the text of such a column, given by `name`, may be encrypted."""
    return Q(**{f"{name}__contains": f'"{TOKEN}"'})


class Rewritten(NamedTuple):
    """How many rows have changed, and how many hold something that no configured key decrypts."""

    changed: int
    unreadable: int


def rewrite(model: type[models.Model]) -> Rewritten:
    """Store the columns of each row in the form that the settings ask for: by the newest key, or in the clear.

    What can't be read stays as it is. Locks ROWS_AT_ONCE rows at a time.
    """
    names = [one.name for one in model._meta.fields if isinstance(one, EncryptedJSONField | EncryptedTextField)]
    rows: Any = model._default_manager
    changed, unreadable, last = 0, 0, 0
    while True:
        with brief_transaction(rows.db):
            batch = rows.filter(pk__gt=last).order_by("pk").select_for_update().values_list("pk", flat=True)
            keys = list(batch[:ROWS_AT_ONCE])
            for pk, values, is_whole in _misfits(rows.filter(pk__in=keys), names):
                changed += rows.filter(pk=pk).update(**values) if values else 0
                unreadable += not is_whole
        if not keys:
            return Rewritten(changed, unreadable)
        last = keys[-1]


def _misfits(rows: Any, names: list[str]) -> Iterator[tuple[Any, dict[str, Any], bool]]:
    """The keys of rows of which columns have another form than the settings ask for, with the values of those columns
    that can be read, and whether all can.
    """
    stored = {f"{name}_stored": Cast(name, models.TextField()) for name in names}
    for row in rows.annotate(**stored).values("pk", *names, *stored):
        values = {name: row[name] for name in names if not _fits(row[f"{name}_stored"], row[name])}
        readable = {name: one for name, one in values.items() if not _is_unreadable(one)}
        if values:
            yield row["pk"], readable, len(readable) == len(values)


def _fits(stored: str | None, value: Any) -> bool:
    if not stored or stored == "null":
        return True
    looks_encrypted = isinstance(value, str) and value.startswith(PREFIX)
    is_encrypted = conf.current().encrypt_payloads or looks_encrypted
    return _key_of(stored) == (encryption.newest_key_id(Purpose.RECORD) if is_encrypted else "")


def _key_of(stored: str) -> str:
    """The id of the key that a stored value is encrypted with. Blank: it is in the clear."""
    if stored.startswith(PREFIX):
        return stored.split(":", 2)[1]
    if f'"{TOKEN}"' not in stored:
        return ""
    try:
        value = json.loads(stored)
    except ValueError:
        return ""  # a text that is not JSON
    return str(value[KEY]) if _is_encrypted(value) else ""


def _is_encrypted(value: Any) -> bool:
    return (
        isinstance(value, dict) and value.keys() == {TOKEN, KEY} and all(isinstance(one, str) for one in value.values())
    )


def _is_unreadable(value: Any) -> bool:
    return isinstance(value, UnreadableRecord | UnreadableText)
