"""Texts: a part of an expression, written out again for messages."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from orderhooks.expressions.compiled import Tree

__all__ = ["text_of"]

PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def text_of(node: Tree) -> str:
    """The node as an expression: `data.order.currency`."""
    return TEXTS[node["type"]](node, [text_of(one) for one in node["children"] if isinstance(one, Mapping)])


def _literal(node: Tree, _parts: list[str]) -> str:
    value = node["value"]
    if isinstance(value, str) and "'" not in value:
        return f"'{value}'"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _name(name: str) -> str:
    plain = name and not name[0].isdigit() and all(one in PLAIN for one in name)
    return name if plain else json.dumps(name, ensure_ascii=False)


def _joined(parts: list[str]) -> str:
    """With dots, except before brackets."""
    text = ""
    for part in parts:
        text += part if not text or part.startswith("[") or not part else f".{part}"
    return text


def _slice(node: Tree, _parts: list[str]) -> str:
    start, stop, step = ("" if one is None else str(one) for one in node["children"])
    return f"[{start}:{stop}{f':{step}' if step else ''}]"


TEXTS: Mapping[str, Callable[[Any, list[str]], str]] = {
    "and_expression": lambda _node, parts: " && ".join(parts),
    "or_expression": lambda _node, parts: f"({' || '.join(parts)})",
    "not_expression": lambda _node, parts: f"!{parts[0]}",
    "comparator": lambda node, parts: f" {SIGNS[node['value']]} ".join(parts),
    "current": lambda _node, _parts: "@",
    "identity": lambda _node, _parts: "",
    "expref": lambda _node, parts: f"&{parts[0]}",
    "field": lambda node, _parts: _name(node["value"]),
    "filter_projection": lambda _node, parts: _joined([f"{parts[0]}[?{parts[2]}]", parts[1]]),
    "flatten": lambda _node, parts: f"{parts[0]}[]",
    "function_expression": lambda node, parts: f"{node['value']}({', '.join(parts)})",
    "index": lambda node, _parts: f"[{node['value']}]",
    "index_expression": lambda _node, parts: _joined(parts),
    "key_val_pair": lambda node, parts: f"{_name(node['value'])}: {parts[0]}",
    "literal": _literal,
    "multi_select_dict": lambda _node, parts: f"{{{', '.join(parts)}}}",
    "multi_select_list": lambda _node, parts: f"[{', '.join(parts)}]",
    "pipe": lambda _node, parts: " | ".join(parts),
    "projection": lambda node, parts: _joined(
        [parts[0] if node["children"][0]["type"] in ("flatten", "index_expression") else f"{parts[0]}[*]", parts[1]]
    ),
    "slice": _slice,
    "subexpression": lambda _node, parts: _joined(parts),
    "value_projection": lambda _node, parts: _joined([f"{parts[0]}.*" if parts[0] else "*", parts[1]]),
}
