"""Trials of the attributes of a source: each must be of the type that it is declared with, and have a known name.

They come first, so that all other trials, and the code that runs at start, may rely on the types.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from django.db.models import Q

from orderhooks import spelling
from orderhooks.source_trials.running import Fault, Faults
from orderhooks.sources import ROW_TOPICS, OrderSource, Related

__all__ = ["misspelt", "types"]

# What a judge yields: a sentence, and the remedy.
Judged = Iterator[tuple[str, str]]
EXAMPLES: Mapping[str, str] = {
    "model": "model = 'shop.Order'",
    "only": "only = ~Q(state='cart')",
    "watched": "watched = ('state', 'total')",
    "transitions": "transitions = {'state': {'paid': 'order.paid'}}",
    "lines": "lines = Lines('shop.Line', 'order', ('sku', 'quantity'))",
    "related": "related = (Related('payments', 'shop.Payment', 'order', ('amount',)),)",
    "not_in_digest": "not_in_digest = ('updated_at',)",
    "personal": "personal = ('customer.email',)",
    "computed_topics": "computed_topics = ('order.paid',)",
    "topics": "topics = {'created': 'order.payment_created'}",
    "newest_first": "newest_first = ('-placed_at',)",
    "dated_by": "dated_by = 'placed_at'",
    "store_field": "store_field = 'shop_name'",
    "atomic_saves": "atomic_saves = False",
    "key": "key = 'payments'",
    "path": "path = 'order'",
}
# A name that differs by more is a name of its own.
AS_GOOD_AS_SAME = 0.8
MOST_LETTERS_APART = 2


def types(path: str, source: OrderSource) -> Faults:
    """Each attribute must have the type that it is declared with."""
    for name, (check_id, judge) in JUDGES.items():
        for text, remedy in judge(name, getattr(source, name)):
            yield Fault(path, check_id, text, remedy)
    rows = [source.lines, *(source.related if isinstance(source.related, tuple | list) else ())]
    for related in rows:
        if isinstance(related, Related):
            for name, (check_id, judge) in JUDGES_OF_ROWS.items():
                what = f"{related.key}.{name}" if isinstance(related.key, str) else name
                for text, remedy in judge(what, getattr(related, name)):
                    yield Fault(path, check_id, text, remedy)


def misspelt(path: str, source: OrderSource) -> Faults:
    """A name that is nearly one of an `OrderSource` would say nothing.

    Other names are the store's own. So are methods that take other arguments.
    """
    for cls in type(source).__mro__:
        if not issubclass(cls, OrderSource) or cls.__module__.startswith("orderhooks."):
            continue
        for name, value in vars(cls).items():
            is_known = name in OrderSource.__annotations__ or any(hasattr(base, name) for base in cls.__bases__)
            if is_known or name.startswith("_"):
                continue
            known = _methods_like(value) if callable(value) else OrderSource.__annotations__
            near = spelling.nearest(name, known, at_least=AS_GOOD_AS_SAME)
            if near and abs(len(near) - len(name)) <= MOST_LETTERS_APART:
                text = f"`{name}` is not an attribute of OrderSource."
                remedy = f"Did you mean `{near}`? Let a name of your own begin with `_`."
                yield Fault(path, "W044", text, remedy)


def shown(value: Any) -> str:
    """A value as the text of a fault shows it."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.60}"


def _methods_like(value: Any) -> list[str]:
    try:
        parameters = list(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return []
    methods = {name: one for name, one in vars(OrderSource).items() if inspect.isfunction(one) and name[0] != "_"}
    return [name for name, one in methods.items() if list(inspect.signature(one).parameters) == parameters]


def _wrong(what: str, value: Any, kind: str) -> tuple[str, str]:
    example = EXAMPLES[what.rpartition(".")[2]]
    return f"`{what}` is {shown(value)}.", f"Write {kind}: {example}."


def _label(what: str, value: Any) -> Judged:
    """The name of a model, `app.Model`."""
    if not isinstance(value, str):
        options = getattr(value, "_meta", None)
        example = f"{what} = '{options.label}'" if isinstance(value, type) and options else EXAMPLES["model"]
        yield f"`{what}` is {shown(value)}.", f"Write the model's name as a text, 'app_label.Model': {example}."


def _name_of_field(what: str, value: Any) -> Judged:
    if not isinstance(value, str):
        yield _wrong(what, value, "one name as a text")


def _boolean(what: str, value: Any) -> Judged:
    if not isinstance(value, bool):
        yield _wrong(what, value, "True or False")


def _condition(what: str, value: Any) -> Judged:
    if value is not None and not isinstance(value, Q):
        yield _wrong(what, value, "a Q of columns of the order, or None")


def _texts(what: str, value: Any) -> Judged:
    if isinstance(value, str):
        yield f"`{what}` is the text {value!r}.", f'Write a tuple: {what.rpartition(".")[2]} = ("{value}",).'
    elif not isinstance(value, Collection) or isinstance(value, Mapping | bytes):
        yield _wrong(what, value, "a tuple of texts")
    else:
        for one in value:
            if not isinstance(one, str):
                yield f"`{what}` holds {shown(one)}.", f"Write a tuple of texts: {EXAMPLES[what.rpartition('.')[2]]}."


def _texts_or_none(what: str, value: Any) -> Judged:
    if value is not None:
        yield from _texts(what, value)


def _texts_of_rows(what: str, value: Any) -> Judged:
    found = list(_texts(what, value))
    if not found and not isinstance(value, tuple):
        found = [_wrong(what, value, "a tuple of texts")]
    yield from found


def _transitions(what: str, value: Any) -> Judged:
    if not isinstance(value, Mapping):
        yield _wrong(what, value, "a dict of fields, each with the topics of its values")
        return
    for name, by_value in value.items():
        if not isinstance(name, str):
            yield f"`{what}` holds the field {shown(name)}.", f"Name fields as texts: {EXAMPLES[what]}."
        elif not isinstance(by_value, Mapping):
            remedy = f"Write a dict of its values, each with a topic: {EXAMPLES[what]}."
            yield f"`{what}` has {shown(by_value)} for the field {name!r}.", remedy
        else:
            for one, topic in by_value.items():
                if not isinstance(topic, str):
                    remedy = "Write one topic as a text. For several, see `compute_topics`."
                    yield f"`{what}` has {shown(topic)} as the topic of {one!r}.", remedy


def _topics_of_rows(what: str, value: Any) -> Judged:
    if isinstance(value, str):
        yield f"`{what}` is the text {value!r}.", f"Say what of: topics = {{'created': {value!r}}}, {_kinds()}."
    elif not isinstance(value, Mapping):
        yield _wrong(what, value, f"a dict of what happens to a row, {_kinds()}")
    else:
        for kind, topic in value.items():
            if not isinstance(topic, str):
                yield f"`{what}` has {shown(topic)} as the topic of {kind!r}.", "Write one topic as a text."


def _kinds() -> str:
    return "with the keys " + ", ".join(ROW_TOPICS)


def _lines(what: str, value: Any) -> Judged:
    if value is not None and not isinstance(value, Related):
        yield _wrong(what, value, "the lines as Lines, or None")


def _rows(what: str, value: Any) -> Judged:
    if isinstance(value, Related):
        yield f"`{what}` is a Related, not a tuple of them.", f"Add a comma at the end: {EXAMPLES[what]}."
    elif not isinstance(value, tuple | list):
        yield _wrong(what, value, "a tuple of Related")
    else:
        for one in value:
            if not isinstance(one, Related):
                yield f"`{what}` holds {shown(one)}.", f"Write a tuple of Related: {EXAMPLES[what]}."


# A row for each attribute: the id of its check, and its judge. `name`, `capture`, `topics` and `payload_fields` have
# trials of their own.
Judge = Callable[[str, Any], Judged]
JUDGES: Mapping[str, tuple[str, Judge]] = {
    "model": ("E041", _label),
    "only": ("E042", _condition),
    "watched": ("E042", _texts),
    "transitions": ("E042", _transitions),
    "lines": ("E041", _lines),
    "related": ("E041", _rows),
    "not_in_digest": ("E042", _texts),
    "personal": ("E047", _texts_or_none),
    "computed_topics": ("E045", _texts),
    "newest_first": ("E042", _texts),
    "dated_by": ("E042", _name_of_field),
    "store_field": ("E042", _name_of_field),
    "atomic_saves": ("E042", _boolean),
}
JUDGES_OF_ROWS: Mapping[str, tuple[str, Judge]] = {
    "key": ("E042", _name_of_field),
    "model": ("E041", _label),
    "path": ("E041", _name_of_field),
    "watched": ("E042", _texts_of_rows),
    "topics": ("E045", _topics_of_rows),
}
