"""Selection: what a subscription wants beside its topics, and of what shape: fields that must have changed, a filter,
a projection. Used by `models` to validate it, and by `matching` and `shaping`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from orderhooks import catalogue, expressions, json_schema, logs, payloads, sources, spelling, topics, versions
from orderhooks.expressions import EvaluationError, Expression, ExpressionError

__all__ = [
    "FieldPatternError",
    "ProjectionError",
    "Watched",
    "check_fields",
    "check_filter",
    "check_projection",
    "is_touched",
    "misfit",
    "project",
    "watched_by",
]

logger = logs.get_logger(__name__)

# By the name of a field in `changes`: the fields of its rows, or nothing for a field of the order itself.
Watched = Mapping[str, Collection[str]]


FUNCTION = re.compile(r"[a-z_]+\(")
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
        logger.exception("which fields a source has is not known: the setting SOURCES is wrong", source=source)
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
    return any(_differs(before.get(key), after.get(key), path) for key in {*before, *after})


def _differs(old: Any, new: Any, path: str) -> bool:
    """Whether a row's field differs. A row that was not there, or is gone, is like one in which the field is blank."""
    if old is None or new is None:
        return bool(_part(old, path) or _part(new, path))
    return bool(_part(old, path) != _part(new, path))


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
    """Raises ExpressionError unless it is a condition that can work on bodies of these topics in that version."""
    expression = _checked(text, patterns, version)
    expressions.require_condition(expression)
    for name, example in _examples(patterns, version):
        try:
            expression.evaluate(example, budget=EXAMPLE_BUDGET)
        except EvaluationError as error:
            if not (_got_null(error) and _reads_open_parts(expression, patterns, version)):
                raise ExpressionError(f"It fails on the example of {name}: {_sentence(error)}") from None


def check_projection(text: str, patterns: Sequence[str], version: str) -> None:
    """Raises ExpressionError unless it is an expression that makes an object of the examples of these topics."""
    expression = _checked(text, patterns, version)
    for name, example in _examples(patterns, version):
        try:
            project(text, example, budget=EXAMPLE_BUDGET)
        except ProjectionError as error:
            if not (_got_null(error.__context__) and _reads_open_parts(expression, patterns, version)):
                raise ExpressionError(f"It fails on the example of {name}: {error}") from None


def misfit(text: str, topic: str, version: str) -> str:
    """Why an expression does not fit the body of a topic in that version. Blank if it does, or if that is not known."""
    try:
        expressions.check(expressions.compiled(text), catalogue.schema_in(version, topic))
    except ExpressionError as error:
        return str(error)
    except (versions.VersionError, topics.UnknownTopicError):
        return ""
    return ""


def _got_null(error: BaseException | None) -> bool:
    """Whether a function could not be called because its argument is null."""
    return isinstance(error, EvaluationError) and getattr(error.__context__, "actual_type", "") == "null"


def _reads_open_parts(expression: Expression, patterns: Sequence[str], version: str) -> bool:
    """Whether it reads what the schema leaves open, of which an example says nothing: other orders may have more."""
    try:
        expressions.check(expression, json_schema.without_open_parts(_schema(patterns, version)))
    except ExpressionError:
        return True
    return False


def _checked(text: str, patterns: Sequence[str], version: str) -> Expression:
    expression = expressions.compiled(text)
    try:
        versions.require(version)
    except versions.VersionError as error:
        raise ExpressionError(f"It can't be checked. {error}") from None
    expressions.check(expression, _schema(patterns, version))
    return expression


def _examples(patterns: Sequence[str], version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The topics with their examples in that version, except those that can't be converted to it."""
    for name in _names(patterns):
        try:
            yield name, catalogue.entry(name, version=version).example
        except versions.VersionError as error:
            logger.warning("filter and projection were not tried on an example: %s", error, topic=name)


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
    if _got_null(error):
        text += ": write `path && …` before it, so that it is called only if there is a value"
    # The name of a function stays as it is written.
    return f"{text}." if FUNCTION.match(text) else f"{text[:1].upper()}{text[1:]}."


def _names(patterns: Sequence[str]) -> list[str]:
    known = [topic.name for topic in catalogue.offered() if topics.matches(patterns, topic.name)]
    # What reports an erasure is neither filtered nor projected.
    known = [name for name in known if name != payloads.REDACTED]
    return [name for name in known if name != catalogue.TEST or name in patterns]


def _schema(patterns: Sequence[str], version: str) -> Mapping[str, Any]:
    """The schema of these topics' bodies. Anything goes if there is none, or an example can't be converted."""
    names = _names(patterns)
    if not names:
        return {}
    # In the newest version they differ in the topic alone. A conversion may treat topics differently.
    compared = names[:1] if version == versions.newest() else names
    try:
        found = [catalogue.schema_in(version, name) for name in compared]
    except versions.VersionError as error:
        logger.warning("fields of filter and projection were not checked: %s", error)
        return {}
    shapes: list[Mapping[str, Any]] = []
    for shape in (one for schema in found for one in schema.get("anyOf", [schema])):
        known = {**shape, "properties": {**shape["properties"], "type": {"type": "string", "enum": names}}}
        if known not in shapes:
            shapes.append(known)
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
