"""Personal data in JSON: which values of a payload, and of `changes`, are about a person, and what takes their place.

Pure. `erasing` uses it; the paths come from `OrderSource.personal`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from orderhooks import json_schema
from orderhooks.sources.field_payload import FieldPayload
from orderhooks.sources.related import Related

__all__ = ["Erased", "PersonalData", "is_typical", "path_fault", "personal_data_of", "texts_of"]

WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
# Words of a key whose value is about a person, whatever stands around it.
TYPICAL = frozenset(
    "address addresses birth birthdate birthday city comment comments dob email emails engraving fax firstname "
    "fullname gender iban ip lastname mail message mobile nickname note notes phone phones postal postcode remark "
    "remarks salutation street surname telephone tel username vat zip".split()
)
PERSON = frozenset(
    "buyer client consignee contact customer guest holder payer person purchaser recipient shopper user".split()
)
# Words right before "name" in a key for the name of a person.
BEFORE_NAME = PERSON | frozenset("billing family first full given last middle shipping".split())
# In an object with a key such as `customer`, these are about the person too.
BESIDE_A_PERSON = frozenset("company name title".split())
# What may take the place of a value: the first that its schema allows.
REPLACEMENTS: tuple[Any, ...] = (None, "", 0, False)
EACH = "*"
Path = tuple[str, ...]


class Source(Protocol):
    """What is used of an `OrderSource`."""

    personal: tuple[str, ...] | None
    watched: tuple[str, ...]
    transitions: Mapping[str, Mapping[str, str]]

    def get_model(self) -> Any: ...

    def schema(self) -> dict[str, Any]: ...

    @property
    def all_related(self) -> tuple[Related, ...]: ...


def is_typical(key: str, *, within_person: bool = False) -> bool:
    """Whether the value under such a key is usually about a person. `within_person`: in an object about one."""
    words = _words(key)
    is_name = any(one in BEFORE_NAME and following == "name" for one, following in pairwise(words))
    return is_name or not (TYPICAL | (BESIDE_A_PERSON if within_person else frozenset())).isdisjoint(words)


def _words(key: str) -> list[str]:
    return [word.lower() for word in WORDS.findall(key)]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a JSON Schema says of one place. No choices: anything goes."""

    choices: tuple[Mapping[str, Any], ...]
    root: Mapping[str, Any]

    @classmethod
    def of(cls, schema: Any, root: Mapping[str, Any]) -> "_Shape":
        return cls(tuple(one for one in json_schema.alternatives(schema, root) if one), root)

    def member(self, name: str) -> "_Shape":
        return self._inner(one["properties"][name] for one in self.choices if name in one.get("properties", ()))

    def items(self) -> "_Shape":
        """That of each item of a list. Rows that a payload shows as one object are lists in `changes`."""
        inner = [one["items"] for one in self.choices if "items" in one]
        return self._inner(inner) if inner else self

    def _inner(self, schemas: Iterable[Any]) -> "_Shape":
        return _Shape(tuple(one for inner in schemas for one in _Shape.of(inner, self.root).choices), self.root)

    def allows(self, value: Any) -> bool:
        return not self.choices or any(json_schema.fits(value, choice, self.root) for choice in self.choices)

    def replacements(self) -> list[Any]:
        return [one for one in REPLACEMENTS if self.allows(one)]

    def replacement(self, value: Any) -> tuple[Any, bool]:
        """What takes the place of the value, and whether the schema allows it."""
        if not self.choices or not self.allows(value):
            # A schema of an older version may have shown it: a text stays a text.
            return "" if isinstance(value, str) else None, True
        return next(((one, True) for one in self.replacements()), (None, False))


@dataclass(slots=True)
class Erased:
    """What was erased: the `values` that are gone, as text, and the `paths` at which they were."""

    values: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Which parts of an order's JSON are personal. `paths`: None for those with typical keys.

    `typical_fields`: names of an order's fields, or of related rows, that are judged by their keys beside `paths`.
    """

    paths: frozenset[Path] | None
    schema: Mapping[str, Any]
    typical_fields: frozenset[str] = frozenset()

    def erase(self, value: Any, erased: Erased) -> Any:
        """A copy with a replacement for each personal value. The keys stay. Adds to `erased`.

        The replacement is null or, if the schema forbids it, "" (0 or false for a number or a boolean). Of a value that
        the schema does not have, or not in that type, it is "" for a text and null for others.
        """
        return _Eraser(self, erased).walk(value, self.paths or frozenset(), _Shape.of(self.schema, self.schema), ())

    def values(self, value: Any) -> set[str]:
        """The personal values in it, as text."""
        erased = Erased()
        self.erase(value, erased)
        return erased.values


@dataclass(frozen=True, slots=True)
class _Eraser:
    personal: PersonalData
    erased: Erased

    def walk(self, value: Any, paths: frozenset[Path], shape: _Shape, at: Path, within_person: bool = False) -> Any:
        if isinstance(value, Mapping):
            return {key: self._member(key, one, paths, shape, at, within_person) for key, one in value.items()}
        if isinstance(value, list | tuple):
            # The star may be left out, as in the names of changed fields.
            inner = frozenset(path[1:] if path[:1] == (EACH,) else path for path in paths)
            return [self._chosen(one, inner, shape.items(), (*at, EACH), within_person) for one in value]
        return value

    def _chosen(self, value: Any, paths: frozenset[Path], shape: _Shape, at: Path, within_person: bool) -> Any:
        if () in paths:
            return self._blank(value, shape, at, forced=True)
        return self.walk(value, paths, shape, at, within_person)

    def _member(
        self, key: str, value: Any, paths: frozenset[Path], shape: _Shape, at: Path, within_person: bool
    ) -> Any:
        inner = frozenset(path[1:] for path in paths if path and path[0] in (key, EACH))
        place = (*at, key)
        if () not in inner and self._goes_by_keys(place) and is_typical(key, within_person=within_person):
            # A key of another row, a flag and an amount are not about the person.
            return value if isinstance(value, bool | int | float) else self._blank(value, shape.member(key), place)
        return self._chosen(value, inner, shape.member(key), place, within_person or not PERSON.isdisjoint(_words(key)))

    def _goes_by_keys(self, place: Path) -> bool:
        return self.personal.paths is None or place[0] in self.personal.typical_fields

    def _blank(self, value: Any, shape: _Shape, at: Path, *, forced: bool = False) -> Any:
        blank = self._blanked(value, shape, forced)
        if blank != value:
            self.erased.paths.add(".".join(at))
        return blank

    def _blanked(self, value: Any, shape: _Shape, forced: bool) -> Any:
        if isinstance(value, Mapping):
            return {
                # The schema says that it is the key of a row.
                key: one if key == "id" and shape.member(key).choices else self._blanked(one, shape.member(key), forced)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._blanked(one, shape.items(), forced) for one in value]
        replacement, fits = shape.replacement(value)
        if value is None or value == replacement or not (fits or forced):
            return value
        self.erased.values.add(str(value))
        return replacement


def personal_data_of(source: Source) -> tuple[PersonalData, PersonalData]:
    """The personal data in payloads of a source, and in `changes` and the columns of its watched fields.

    A watched field that payloads do not show under its name is also judged by the name, whatever `personal` says.
    """
    declared = None if source.personal is None else frozenset(tuple(path.split(".")) for path in source.personal)
    schema = source.schema()
    of_payload = PersonalData(declared, schema)
    watched = FieldPayload.of_watched(source).schema(source)
    if declared is None:
        return of_payload, PersonalData(None, watched)
    unseen = frozenset(watched["properties"]) - frozenset(schema.get("properties", ()))
    return of_payload, PersonalData(declared | _by_key(source, declared), watched, unseen)


def _by_key(source: Source, paths: Iterable[Path]) -> frozenset[Path]:
    """The paths into related rows with the key that the rows have in `changes`: a payload may show them by relation."""
    keys = {related.pointer or related.relation: related.key for related in source.all_related}
    return frozenset((keys[path[0]], *path[1:]) for path in paths if path[0] in keys)


def path_fault(source: Source, path: str, former: Iterable[Mapping[str, Any]] = ()) -> tuple[str, list[str]]:
    """What is wrong with a path of `personal`, blank if nothing is; and which paths there are where it goes wrong.

    `former`: the schemas of payloads in older versions of the body.
    """
    parts: Path = tuple(path.split("."))
    known: list[str] = []
    for root in (source.schema(), FieldPayload.of_watched(source).schema(source), *former):
        end, names = _along(parts, _Shape.of(root, root))
        if end is not None:
            return "" if _can_be_blank(end) else "its schema allows neither null nor a blank value there", []
        known += names
    return "neither its schema() nor its watched fields have that", list(dict.fromkeys(known))


def _along(parts: Path, shape: _Shape) -> tuple[_Shape | None, list[str]]:
    """What the schema says at the end of the path. None if it does not lead there, with the paths that do."""
    for place, name in enumerate(parts):
        inside = shape.items()
        if name == EACH:
            shape = inside
            continue
        names = [one for choice in inside.choices for one in choice.get("properties", ())]
        if inside.choices and name not in names and not any(_is_open(one) for one in inside.choices):
            return None, [".".join((*parts[:place], one)) for one in names]
        shape = inside.member(name)
    return shape, []


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether an object, or a list, may hold anything."""
    return not {"properties", "items", "enum", "const"} & schema.keys() and _may_be(schema, "object", "array")


def _may_be(schema: Mapping[str, Any], *kinds: str) -> bool:
    types = schema.get("type", kinds)
    return not set(kinds).isdisjoint([types] if isinstance(types, str) else types)


def _can_be_blank(shape: _Shape) -> bool:
    """Whether the schema allows a replacement for each value at this place."""
    if not shape.choices or any(_is_open(one) for one in shape.choices):
        return True
    if any("items" in one for one in shape.choices):
        return _can_be_blank(shape.items())
    names = {name for one in shape.choices for name in one.get("properties", ())}
    return all(_can_be_blank(shape.member(name)) for name in names - {"id"}) if names else bool(shape.replacements())


def texts_of(value: Any) -> Iterator[str]:
    """All texts in JSON data, without its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from texts_of(one)
