"""Selection: what a subscription wants beside its topics, and of what shape: fields that must have changed, a filter,
a projection. Used by `models` to validate it, and by `matching` and `shaping`.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from orderhooks import catalogue, expressions, payloads, sources, spelling, topics, versions
from orderhooks.expressions import EvaluationError, Expression, ExpressionError

__all__ = [
    "FieldPatternError",
    "ProjectionError",
    "Watched",
    "check_fields",
    "check_filter",
    "check_projection",
    "is_touched",
    "project",
    "watched_by",
]

logger = logging.getLogger(__name__)

# By the name of a field in `changes`: the fields of its rows, or nothing for a field of the order itself.
Watched = Mapping[str, Collection[str]]


# What an expression may cost on an example, in units of `expressions.interpreting`. Real orders may be larger, so
# that they may cost more.
EXAMPLE_BUDGET = 5000


class FieldPatternError(ValueError):
    """A text that names no field whose changes are captured. The message says which there are."""


class ProjectionError(ValueError):
    """A projection can't make the `data` of this body. The message holds no value of it."""


def watched_by(source: str) -> Watched:
    """The fields and related rows whose changes the order source with that name captures. Empty if there is none."""
    try:
        found = sources.configured().get(source)
    except Exception:
        # Events go on being sent, and a check says what is wrong.
        logger.exception("which fields %r has is not known: the setting SOURCES is wrong", source)
        return {}
    if found is None:
        return {}
    fields = dict.fromkeys((*found.watched, *found.transitions), ())
    return {**fields, **{related.key: related.watched for related in found.all_related}}


def is_touched(changes: Mapping[str, Any], patterns: Iterable[str], watched: Watched) -> bool:
    """Whether an event's `changes` hold one of the fields that the patterns name. Pure.

    `status` and `shipping_address` name a field of the order, `shipping_address.city` a part of it, `lines` or
    `lines.*` any change of these rows, `lines.quantity` a field of them, also of a row that is new or gone. True if it
    can't be known: the event has no changes (the store published it), or holds a field that is not `watched`.
    """
    if not changes or any(name not in watched for name in changes):
        return True
    return any(_is_changed(changes, pattern) for pattern in patterns)


def _is_changed(changes: Mapping[str, Any], pattern: str) -> bool:
    name, _dot, path = pattern.partition(".")
    if name not in changes:
        return False
    if path in ("", "*"):
        return True
    old, new = changes[name]
    if not (isinstance(old, list) and isinstance(new, list)):
        return bool(_part(old, path) != _part(new, path))
    before, after = ({str(row.get("id")): row for row in side if isinstance(row, Mapping)} for side in (old, new))
    # A row that was not there is like one in which the field is blank.
    return any(
        (_part(before.get(key), path) or None) != (_part(after.get(key), path) or None) for key in {*before, *after}
    )


def _part(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def check_fields(patterns: object) -> None:
    """Raises FieldPatternError unless it is a list of fields that an order source captures."""
    if not isinstance(patterns, list):
        raise FieldPatternError('Name the fields as a list: ["shipping_address", "lines.*"].')
    known: dict[str, set[str]] = {}
    choices: Iterable[str] = ()
    for source in sources.configured():
        for name, fields in watched_by(source).items():
            known.setdefault(name, set()).update(fields)
    faults: list[str] = []
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise FieldPatternError(f"A field is a text such as 'shipping_address', not {pattern!r}.")
        name, _dot, path = pattern.partition(".")
        if name not in known:
            faults.append(_hint(pattern, name, known))
            choices = known
        elif known[name] and path not in ("", "*", *known[name]):
            choices = [*(f"{name}.{field}" for field in sorted(known[name])), f"{name}.*"]
            faults.append(_hint(pattern, pattern, choices))
        elif _dot and not all(path.split(".")):
            raise FieldPatternError(f"{pattern!r} has a dot too many.")
    if faults:
        # Those of the last one; usually there is one.
        raise FieldPatternError(f"{' '.join(faults)} Use one of: {', '.join(choices)}.")


def _hint(pattern: str, name: str, known: Iterable[str]) -> str:
    spelled = {one.lower(): one for one in known}
    near = spelling.nearest(name.lower(), spelled)
    hint = f" Did you mean {spelled[near]!r}?" if near else ""
    return f"No order source captures changes of {pattern!r}.{hint}"


def check_filter(text: str, patterns: Sequence[str], version: str) -> None:
    """Raises ExpressionError unless it is an expression that can work on bodies of these topics in that version."""
    expression = _checked(text, patterns, version)
    for name, example in _examples(patterns, version):
        try:
            expression.evaluate(example, budget=EXAMPLE_BUDGET)
        except EvaluationError as error:
            raise ExpressionError(f"It fails on the example of {name}: {_sentence(error)}") from None


def check_projection(text: str, patterns: Sequence[str], version: str) -> None:
    """Raises ExpressionError unless it is an expression that makes an object of the examples of these topics."""
    _checked(text, patterns, version)
    for name, example in _examples(patterns, version):
        try:
            project(text, example, budget=EXAMPLE_BUDGET)
        except ProjectionError as error:
            raise ExpressionError(f"It fails on the example of {name}: {error}") from None


def _checked(text: str, patterns: Sequence[str], version: str) -> Expression:
    expression = expressions.compiled(text)
    # Only the newest version has a schema. Of an older one, only the examples are tried.
    expressions.check(expression, _schema(patterns) if version == versions.newest() else {})
    return expression


def _examples(patterns: Sequence[str], version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The topics with their examples in that version. None if it can't be had: the version's own field says why."""
    for name in _names(patterns):
        try:
            yield name, catalogue.entry(name, version=version).example
        except versions.VersionError:
            logger.exception("filter and projection were not tried on the example of %s", name)
            return


def project(text: str, body: Mapping[str, Any], *, budget: int = expressions.BUDGET) -> dict[str, Any]:
    """The `data` that a projection makes of a body. Raises ProjectionError."""
    try:
        made = expressions.compiled(text).evaluate(body, budget=budget)
    except (ExpressionError, EvaluationError) as error:
        raise ProjectionError(_sentence(error)) from None
    if not isinstance(made, dict):
        kind = "null" if made is None else "a list" if isinstance(made, list) else "no object"
        raise ProjectionError(f"It yields {kind}. Write an object: {{number: data.order.number}}.")
    try:
        payloads.check(made)
    except (ValueError, TypeError) as error:
        raise ProjectionError(str(error)) from None
    return made


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _names(patterns: Sequence[str]) -> list[str]:
    known = [topic.name for topic in catalogue.offered() if topics.matches(patterns, topic.name)]
    return [name for name in known if name != catalogue.TEST or name in patterns]


def _schema(patterns: Sequence[str]) -> Mapping[str, Any]:
    """The schema of the bodies of all these topics. They differ in the topic alone. Anything goes if there is none."""
    names = _names(patterns)
    if not names:
        return {}
    schema = catalogue.entry(names[0]).schema
    return {**schema, "properties": {**schema["properties"], "type": {"type": "string", "enum": names}}}
