"""Compatibility: which choices of a subscription do not go together. For the model, the API and the admin."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from orderhooks import formats, selection, topics
from orderhooks.expressions import ExpressionError

__all__ = [
    "EXPRESSIONS",
    "KIND_KEPT",
    "ORDERS_ONLY",
    "SELECTION",
    "format_errors",
    "operational_errors",
    "selection_errors",
]

# What is checked against the topics.
EXPRESSIONS = ("filter", "projection")
SELECTION = ("changed_fields", *EXPRESSIONS)
# What an operational subscription can't have.
ORDERS_ONLY = ("store", *SELECTION, "update_interval_seconds")
KIND_KEPT = _("A subscription stays operational, or stays one for orders. Add another subscription.")


def selection_errors(patterns: object, version: str, **expressions: str) -> dict[str, ValidationError]:
    """What is wrong with a `filter` and a `projection` for bodies of these topics in that version, by the field's
    name.
    """
    checks = {"filter": selection.check_filter, "projection": selection.check_projection}
    errors = {}
    for name, text in expressions.items():
        try:
            if text:
                checks[name](text, patterns if isinstance(patterns, list) else [], version)
        except ExpressionError as error:
            errors[name] = ValidationError(str(error), code=name)
    return errors


def format_errors(name: str, headers: object, projection: str) -> dict[str, ValidationError]:
    """What does not go together with a format, by the field's name. `headers`: the subscription's own, or their names.

    Nothing for an unknown format: that is an error of its own.
    """
    try:
        chosen = formats.get(name)
    except formats.UnknownFormatError:
        return {}
    errors = {}
    given = [header for header in headers if isinstance(header, str)] if isinstance(headers, Iterable) else []
    if twice := [header for header in given if header.lower() in chosen.header_names]:
        text = _("The format %(format)s sets the header %(header)s itself. Leave it out, or choose another format.")
        errors["headers"] = ValidationError(text, code="headers", params={"format": name, "header": twice[0]})
    if projection and not chosen.has_data:
        text = _("The format %(format)s sends no data for a projection to change. Clear it, or choose another format.")
        errors["projection"] = ValidationError(text, code="projection", params={"format": name})
    return errors


def operational_errors(is_operational: bool, patterns: object, **choices: object) -> dict[str, ValidationError]:
    """What does not go together with the kind of a subscription, by the field's name.

    `choices`: its values of the fields ORDERS_ONLY, as far as they are known.
    """
    errors = {}
    require = topics.require_operational_pattern if is_operational else topics.require_pattern
    for pattern in patterns if isinstance(patterns, list) else ():
        # Of topics of orders, a stored one may have been dropped since; `validate_topics` judges them.
        if is_operational or topics.is_operational_pattern(pattern):
            try:
                require(pattern)
            except topics.UnknownTopicError as error:
                errors["topics"] = ValidationError(str(error), code="topic")
                break
    if is_operational:
        text = _("An operational subscription gets no orders to choose from. Clear this.")
        errors |= {name: ValidationError(text, code="operational") for name in ORDERS_ONLY if choices.get(name)}
    return errors
