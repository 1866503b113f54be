"""Compiled expressions: text becomes a tree, which is evaluated on a body within bounds."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jmespath
from jmespath import exceptions, lexer

from orderhooks.expressions.interpreting import BUDGET, EvaluationError, evaluate, is_true

__all__ = [
    "LONGEST",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Tree",
    "compiled",
    "is_true",
    "place_of",
    "shown",
]

# Characters, and levels of the tree. The parser and the interpreter call themselves for each level.
LONGEST = 2000
DEEPEST = 100

# A node as `jmespath` makes it: its `type`, its `children`, and the `value` of some types.
Tree = Mapping[str, Any]


class ExpressionError(ValueError):
    """The text is not a valid expression, or one that could never work. The message says where, and what to write."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A valid expression."""

    text: str
    tree: Tree = field(repr=False)

    def evaluate(self, body: Any, *, budget: int = BUDGET) -> Any:
        """What it makes of JSON data; the same each time. Raises EvaluationError, without values of the data.

        `budget`: how many units it may cost, see `interpreting`.
        """
        return evaluate(self.tree, body, budget=budget)


@functools.lru_cache(maxsize=1024)
def compiled(text: str) -> Expression:
    """The expression. Raises ExpressionError."""
    if not text.strip():
        raise ExpressionError("The expression is blank.")
    if len(text) > LONGEST:
        raise ExpressionError(f"The expression has {len(text)} characters. Write at most {LONGEST}.")
    _check_literals(text)
    try:
        tree: Tree = jmespath.compile(text).parsed
    except exceptions.IncompleteExpressionError:
        raise ExpressionError("The expression ends too early: something is missing behind its end.") from None
    except exceptions.LexerError as error:
        raise ExpressionError(f"{_at(text, error.lexer_position)}: {_lexer_text(error)}") from None
    except exceptions.ParseError as error:
        raise ExpressionError(f"{_at(text, error.lex_position)}: {_parser_text(error, text)}") from None
    except (exceptions.JMESPathError, ValueError) as error:
        raise ExpressionError(f"The expression is not valid: {error}.") from None
    except RecursionError:
        raise ExpressionError(TOO_DEEP) from None
    if _depth(tree) > DEEPEST:
        raise ExpressionError(TOO_DEEP)
    _check_nodes(tree)
    return Expression(text, tree)


# Texts, quoted names, and literals, whose content is the group.
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`((?:\\.|[^`\\])*)`""", re.DOTALL)


def _check_literals(text: str) -> None:
    """`jmespath` takes a literal that is not JSON for a text, and warns on standard error."""
    for match in QUOTED.finditer(text):
        if match[1] is None:
            continue
        try:
            json.loads(match[1].replace("\\`", "`"))
        except (ValueError, RecursionError):
            raise ExpressionError(
                f"{_at(text, match.start())}: in backticks there is JSON, such as `100` or `true`. Write a text in"
                f" single quotation marks: '{match[1]:.40}'."
            ) from None


TOO_DEEP = f"The expression is nested more than {DEEPEST} levels deep. Make it flatter."


def _depth(tree: Tree) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in children(node)]
    return depth


def _check_nodes(tree: Tree) -> None:
    """Refuse what no message could show, and references to expressions that no function gets."""
    level = [tree]
    while level:
        inside: list[Tree] = []
        for node in level:
            try:
                json.dumps(node.get("value"), ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise ExpressionError("The expression holds half of a surrogate pair, which is not text.") from None
            for child in children(node):
                if child["type"] == "expref" and node["type"] != "function_expression":
                    raise ExpressionError("& makes an argument of a function, such as map(&sku, data.order.lines).")
                inside.append(child)
        level = inside
    if tree["type"] == "expref":
        raise ExpressionError("& makes an argument of a function, such as map(&sku, data.order.lines).")


def children(node: Tree) -> Iterator[Tree]:
    """The nodes below a node. Those of a slice are numbers, and left out."""
    return (child for child in node["children"] if isinstance(child, Mapping))


# How other languages write what JMESPath writes with signs.
OPERATORS = {"and": "&&", "or": "||", "not": "!"}


def _parser_text(error: exceptions.ParseError, text: str) -> str:
    words = [str(error.token_value), *text[: error.lex_position].split()[-1:]]
    for word in words:
        if operator := OPERATORS.get(word.lower()):
            return f"{word!r} is not an operator: write {operator}."
    match error.token_type:
        case "NUMBER":
            return f"write a number in backticks: `{error.token_value}`."
        case "EOF":
            return "something is missing here."
        case _:
            return f"{str(error.token_value)!r:.40} can't stand here."


def _lexer_text(error: exceptions.LexerError) -> str:
    match str(error.lexer_value)[:1]:
        case "=":
            return "write == to compare."
        case "'" | '"' | "`":
            return "the closing quotation mark is missing."
        case _:
            return f"{str(error.lexer_value)!r:.40} is not a part of the language."


def place_of(text: str, name: str) -> str:
    """Where an identifier stands first: `At character 12`."""
    for token in lexer.Lexer().tokenize(text):
        if token["value"] == name and token["type"] in ("unquoted_identifier", "quoted_identifier"):
            return _at(text, token["start"])
    return "In the expression"


def _at(text: str, position: int) -> str:
    before = text[max(0, position - 12) : position]
    after = text[position : position + 12]
    return f"At character {position + 1} (“{before}▸{after}”)"


def shown(text: str, *, most: int = 200) -> str:
    """The expression in one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
