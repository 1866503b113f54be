"""Checking: faults of an expression that the JSON Schema of the body tells before any event has come.

It refuses what could never work: an unknown function, a field that the schema lacks, a text that is compared with a
number, a value that a field never has. What the schema leaves open is allowed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jmespath import functions

from orderhooks import spelling
from orderhooks.expressions.compiled import Expression, ExpressionError, Tree, place_of
from orderhooks.expressions.interpreting import ORDERINGS
from orderhooks.expressions.texts import text_of

__all__ = ["check"]

Schema = Mapping[str, Any]
# What a node may yield: one of these schemas. None: anything.
Shapes = tuple[Schema, ...] | None

# An expression has no more nodes than characters; a schema that leads back to itself could be followed for ever.
MOST_STEPS = 10_000
# A value that may be of more shapes may be anything.
MOST_SHAPES = 100
ANYTHING: Shapes = None
NOTHING: Shapes = ({"type": "null"},)
BOOLEAN: Shapes = ({"type": "boolean"},)
NUMBER: Shapes = ({"type": "number"},)
STRING: Shapes = ({"type": "string"},)
FUNCTIONS: Mapping[str, Any] = functions.Functions.FUNCTION_TABLE
# What a function yields; of the others it depends on the data, or on their argument.
YIELDS: Mapping[str, Shapes] = {
    **dict.fromkeys(("abs", "avg", "ceil", "floor", "length", "sum"), NUMBER),
    **dict.fromkeys(("contains", "ends_with", "starts_with"), BOOLEAN),
    **dict.fromkeys(("join", "to_string", "type"), STRING),
    "keys": ({"type": "array", "items": {"type": "string"}},),
    "to_number": ({"type": ["number", "null"]},),
}
NUMBER_TEXT = re.compile(r"-?\d+(\.\d+)?")
NAMES = {
    "string": "a text",
    "number": "a number",
    "integer": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def check(expression: Expression, schema: Schema) -> None:
    """Raises ExpressionError if the expression can't work on data of the schema."""
    _Checker(expression.text, schema).visit(expression.tree, (schema,))


class _Checker:
    def __init__(self, text: str, root: Schema) -> None:
        self.text, self.root, self.steps = text, root, 0

    def visit(self, node: Tree, shapes: Shapes) -> Shapes:
        """What the node yields on data of these shapes."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ExpressionError("The expression is too complicated. Make it simpler.")
        visit = getattr(self, f"visit_{node['type']}", self._visit_others)
        found: Shapes = visit(node, self._flat(shapes))
        return found

    def _visit_others(self, node: Tree, shapes: Shapes) -> Shapes:
        for child in node["children"]:
            if isinstance(child, Mapping):
                self.visit(child, shapes)
        return ANYTHING

    def _in_turn(self, node: Tree, shapes: Shapes) -> Shapes:
        for child in node["children"]:
            shapes = self.visit(child, shapes)
        return shapes

    visit_subexpression = visit_index_expression = visit_pipe = _in_turn

    def visit_current(self, node: Tree, shapes: Shapes) -> Shapes:
        return shapes

    visit_identity = visit_current

    def visit_literal(self, node: Tree, shapes: Shapes) -> Shapes:
        return ({"const": node["value"], "type": _type_of(node["value"])},)

    def visit_field(self, node: Tree, shapes: Shapes) -> Shapes:
        if shapes is None:
            return ANYTHING
        found: list[Schema] = []
        known: dict[str, None] = {}
        for shape in shapes:
            if "object" not in _types(shape):
                continue
            properties = shape.get("properties", {})
            if node["value"] in properties:
                found.append(properties[node["value"]])
            elif not properties or shape.get("additionalProperties", False) is not False:
                return ANYTHING
            known |= dict.fromkeys(properties)
        if not found:
            raise self._unknown(node["value"], known, shapes)
        return tuple(found)

    def _unknown(self, name: str, known: Mapping[str, None], shapes: tuple[Schema, ...]) -> ExpressionError:
        place = place_of(self.text, name)
        if not known:
            types = dict.fromkeys(NAMES[one] for shape in shapes for one in _types(shape) if one != "null")
            kind = " or ".join(types) or "null"
            rest = f" Write […].{name} for the field of each, or [0].{name}." if kind == NAMES["array"] else ""
            if kind == NAMES["boolean"] and "!" in self.text:
                rest = " ! takes the next word alone: write !(…) around the whole path."
            return ExpressionError(f"{place}: there is no field {name!r}, because it is {kind}.{rest}")
        near = spelling.nearest(name, known)
        hint = f"Did you mean {near!r}? " if near else ""
        if name in ("null", "true", "false") and "data" in known:
            return ExpressionError(f"{place}: write `{name}` in backticks.")
        quotes = f" For the text, write '{name}' in single quotation marks." if "data" in known else ""
        return ExpressionError(f"{place}: there is no field {name!r}. {hint}There are: {', '.join(known)}.{quotes}")

    def visit_index(self, node: Tree, shapes: Shapes) -> Shapes:
        return self._items(shapes)

    def visit_slice(self, node: Tree, shapes: Shapes) -> Shapes:
        if node["children"][2] == 0:
            raise ExpressionError("A slice can't have the step 0.")
        return shapes

    def visit_flatten(self, node: Tree, shapes: Shapes) -> Shapes:
        items = self._items(self.visit(node["children"][0], shapes))
        if items is None:
            return ANYTHING
        flattened: list[Schema] = []
        for item in items:
            inner = self._items((item,)) if "array" in _types(item) else (item,)
            if inner is None:
                return ANYTHING
            flattened += inner
        return _list_of(tuple(flattened))

    def visit_projection(self, node: Tree, shapes: Shapes) -> Shapes:
        base, right = node["children"]
        return _list_of(self.visit(right, self._items(self.visit(base, shapes))))

    def visit_filter_projection(self, node: Tree, shapes: Shapes) -> Shapes:
        base, right, condition = node["children"]
        items = self._items(self.visit(base, shapes))
        self.visit(condition, items)
        return _list_of(self.visit(right, items))

    def visit_value_projection(self, node: Tree, shapes: Shapes) -> Shapes:
        base = self._flat(self.visit(node["children"][0], shapes))
        values: list[Schema] = []
        for shape in base or ():
            values += shape.get("properties", {}).values()
        return _list_of(self.visit(node["children"][1], tuple(values) or ANYTHING))

    def visit_comparator(self, node: Tree, shapes: Shapes) -> Shapes:
        left, right = (self._flat(self.visit(child, shapes)) for child in node["children"])
        self._compare(node, left, right)
        return BOOLEAN

    def _compare(self, node: Tree, left: Shapes, right: Shapes) -> None:
        if left is None or right is None:
            return
        kinds = [
            {"number" if one == "integer" else one for shape in side for one in _types(shape)} for side in (left, right)
        ]
        texts = [text_of(child) for child in node["children"]]
        ordered = node["value"] in ORDERINGS
        without_null = [kind - {"null"} for kind in kinds]
        if ordered:
            self._require_numbers(texts, (left, right))
        if {"string"} in without_null and {"number"} in without_null:
            text = texts[without_null.index({"string"})]
            raise ExpressionError(f"{text} is a text, and is compared with a number: write to_number({text}).")
        if not ordered and not kinds[0] & kinds[1]:
            raise ExpressionError(
                f"{texts[0]} and {texts[1]} are never equal: one is {_named(kinds[0])}, the other {_named(kinds[1])}."
            )
        if not ordered:
            self._compare_with_choices(texts[0], left, right)
            self._compare_with_choices(texts[1], right, left)

    def _require_numbers(self, texts: Sequence[str], sides: Sequence[tuple[Schema, ...]]) -> None:
        """Refuse `total > '5'` of an amount, which compares letter by letter: "19" comes before "5"."""
        for text, amounts, others in ((texts[0], sides[0], sides[1]), (texts[1], sides[1], sides[0])):
            value = others[0].get("const") if len(others) == 1 else None
            if isinstance(value, str) and NUMBER_TEXT.fullmatch(value) and any(map(_is_amount, amounts)):
                raise ExpressionError(
                    f"'{value}' is a text. To compare numbers, write to_number({text}) and `{value}`."
                )

    def _compare_with_choices(self, text: str, side: tuple[Schema, ...], other: tuple[Schema, ...]) -> None:
        """Refuse a literal that is not among the values that a field may have."""
        if len(other) != 1 or "const" not in other[0] or other[0]["const"] is None:
            return
        value = other[0]["const"]
        choices: list[Any] = []
        for shape in side:
            if "const" not in shape and "enum" not in shape:
                return
            choices += shape["enum"] if "enum" in shape else [shape["const"]]
        if value not in choices:
            near = (
                spelling.nearest(value, [one for one in choices if isinstance(one, str)])
                if isinstance(value, str)
                else ""
            )
            hint = f"Did you mean {near!r}? " if near else ""
            raise ExpressionError(f"{text} is never {value!r}. {hint}It is one of: {', '.join(map(str, choices))}.")

    def visit_function_expression(self, node: Tree, shapes: Shapes) -> Shapes:
        name = node["value"]
        if name not in FUNCTIONS:
            near = spelling.nearest(name, FUNCTIONS)
            hint = f"Did you mean {near}()? " if near else "For the opposite, write !(…). " if name == "not" else ""
            raise ExpressionError(
                f"{place_of(self.text, name)}: there is no function {name}(). {hint}There are: "
                f"{', '.join(sorted(FUNCTIONS))}."
            )
        self._check_count(node)
        arguments = self._arguments(node, shapes)
        for number, argument in enumerate(arguments):
            signature = FUNCTIONS[name]["signature"]
            self._check_argument(node, number, argument, signature[min(number, len(signature) - 1)]["types"])
        return self._yielded(name, arguments)

    def _arguments(self, node: Tree, shapes: Shapes) -> list[Shapes]:
        """Of each argument; an expression that begins with & is for the items of the first list."""
        found = [None if one["type"] == "expref" else self.visit(one, shapes) for one in node["children"]]
        lists = [one for one, child in zip(found, node["children"], strict=True) if child["type"] != "expref"]
        items = self._items(lists[0]) if lists else ANYTHING
        return [
            self._flat(self.visit(child["children"][0], items) if child["type"] == "expref" else one)
            for one, child in zip(found, node["children"], strict=True)
        ]

    def _check_count(self, node: Tree) -> None:
        signature, count = FUNCTIONS[node["value"]]["signature"], len(node["children"])
        is_open = bool(signature) and signature[-1].get("variadic", False)
        if count < len(signature) or (count > len(signature) and not is_open):
            needed = f"at least {len(signature)}" if is_open else str(len(signature))
            raise ExpressionError(
                f"{place_of(self.text, node['value'])}: {node['value']}() takes {needed} arguments, not {count}."
            )

    def _check_argument(self, node: Tree, number: int, shapes: Shapes, expected: Iterable[str]) -> None:
        child, name = node["children"][number], node["value"]
        is_reference = child["type"] == "expref"
        if is_reference != ("expref" in expected):
            wanted = "an expression that begins with &" if not is_reference else "a value, without &"
            raise ExpressionError(f"{place_of(self.text, name)}: argument {number + 1} of {name}() is {wanted}.")
        if is_reference or shapes is None or not expected:
            return
        if not any(self._fits(shape, one) for shape in shapes for one in expected):
            text, kinds = text_of(child), {one for shape in shapes for one in _types(shape)}
            wanted = _named([one.partition("-")[0] for one in expected])
            hint = ""
            if "array-number" in expected and "array" in kinds:
                hint = f" Amounts are texts: write {name}(map(&to_number(@), {text}))."
                wanted = "a list of numbers"
            elif "number" in expected and "string" in kinds:
                hint = f" Write to_number({text})."
            raise ExpressionError(
                f"{place_of(self.text, name)}: {name}() takes {wanted}, and {text} is {_named(kinds)}.{hint}"
            )

    def _fits(self, shape: Schema, expected: str) -> bool:
        kind, _dash, inner = expected.partition("-")
        types = {"number" if one == "integer" else one for one in _types(shape)}
        if kind not in types:
            return False
        items = self._items((shape,)) if inner else ANYTHING
        return items is None or any(inner in {"number" if t == "integer" else t for t in _types(one)} for one in items)

    def _yielded(self, name: str, arguments: list[Shapes]) -> Shapes:
        match name:
            case "sort" | "sort_by" | "reverse":
                return arguments[0]
            case "max_by" | "min_by" | "max" | "min":
                items = self._items(arguments[0])
                return items if items is None else (*items, {"type": "null"})
            case "map":
                return _list_of(arguments[0])
            case "not_null":
                known = [shapes for shapes in arguments if shapes is not None]
                return tuple(one for shapes in known for one in shapes) if len(known) == len(arguments) else ANYTHING
            case _:
                return YIELDS.get(name, ANYTHING)

    def visit_not_expression(self, node: Tree, shapes: Shapes) -> Shapes:
        self.visit(node["children"][0], shapes)
        return BOOLEAN

    def _either(self, node: Tree, shapes: Shapes) -> Shapes:
        found = [self.visit(child, shapes) for child in node["children"]]
        known = [one for one in found if one is not None]
        return tuple(shape for one in known for shape in one) if len(known) == len(found) else ANYTHING

    visit_or_expression = visit_and_expression = _either

    def visit_multi_select_dict(self, node: Tree, shapes: Shapes) -> Shapes:
        made = {
            child["value"]: {"anyOf": list(self.visit(child["children"][0], shapes) or [{}])}
            for child in node["children"]
        }
        return ({"type": "object", "properties": made},)

    def visit_multi_select_list(self, node: Tree, shapes: Shapes) -> Shapes:
        found = [self.visit(child, shapes) for child in node["children"]]
        known = [one for one in found if one is not None]
        return _list_of(tuple(shape for one in known for shape in one) if len(known) == len(found) else ANYTHING)

    def _items(self, shapes: Shapes) -> Shapes:
        """The items of lists of these shapes. A value that is not a list yields null."""
        flat = self._flat(shapes)
        if flat is None:
            return ANYTHING
        items: list[Schema] = []
        for shape in flat:
            if "array" in _types(shape):
                if not isinstance(shape.get("items"), Mapping):
                    return ANYTHING
                items.append(shape["items"])
        return self._flat(tuple(items)) if items else NOTHING

    def _flat(self, shapes: Shapes, depth: int = 0) -> Shapes:
        """The shapes without references and combinations; ANYTHING where one leaves it open."""
        if shapes is None or depth > 20:
            return ANYTHING
        flat: list[Schema] = []
        for shape in shapes:
            if not isinstance(shape, Mapping):
                return ANYTHING
            inner = [*shape.get("anyOf", ()), *shape.get("oneOf", ()), *shape.get("allOf", ())]
            if "$ref" in shape:
                inner.append(self._referred(shape["$ref"]))
            if inner:
                found = self._flat(tuple(inner), depth + 1)
                if found is None:
                    return ANYTHING
                flat += found
            if "type" in shape or "enum" in shape or "const" in shape or "properties" in shape:
                flat.append(shape)
            elif not inner:
                return ANYTHING
        # Each once: `a || a` has those of `a` twice.
        distinct = tuple({id(shape): shape for shape in flat}.values())
        return distinct if len(distinct) <= MOST_SHAPES else ANYTHING

    def _referred(self, reference: str) -> Any:
        found: Any = self.root
        for part in reference.removeprefix("#/").split("/") if reference != "#" else ():
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return found


def _list_of(shapes: Shapes) -> Shapes:
    return ({"type": "array", "items": {} if shapes is None else {"anyOf": list(shapes)}},)


def _types(shape: Schema) -> list[str]:
    types = shape.get("type")
    if types is not None:
        return [types] if isinstance(types, str) else list(types)
    if "properties" in shape:
        return ["object"]
    values = shape["enum"] if "enum" in shape else [shape["const"]] if "const" in shape else []
    return list(dict.fromkeys(_type_of(value) for value in values)) or list(NAMES)


def _is_amount(shape: Schema) -> bool:
    """Whether its texts are decimal numbers."""
    pattern = shape.get("pattern")
    return isinstance(pattern, str) and bool(re.search(pattern, "1.00")) and not re.search(pattern, "x")


def _type_of(value: Any) -> str:
    return functions.TYPES_MAP.get(type(value).__name__, "null")


def _named(kinds: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(NAMES[kind] for kind in sorted(kinds)))
