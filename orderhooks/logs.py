"""Log lines: a message and keys, which every formatter shows as `key=value`, and `JsonFormatter` as members.

`logger.warning("attempt came back too late", delivery="dlv_…", attempt=2)` logs
`attempt came back too late delivery=dlv_… attempt=2`.

# Note [Keys of log lines]
`subscription`, `event`, `delivery`, `replay`, `backfill` and `erasure` are public ids. `source` and `order` are an
order source and the key of an order; `seconds` is a duration; `trace` is the id of a trace. No key has a payload, a
secret or a customer's data. Values that do not apply are left out.
"""

import json
import logging
import re
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from orderhooks import tracing

__all__ = ["JsonFormatter", "KeyedLogger", "get_logger"]

# What `logging` itself takes by keyword; all else is a key of ours.
OPTIONS = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})
# What ends a value behind `key=`, or seems to.
ENDS = re.compile(r'[ "=]')
# Escaped to ASCII: no character of a value ends the line, for whatever program reads it.
TO_JSON = json.JSONEncoder(default=str).encode


class KeyedLogger(logging.LoggerAdapter):
    """A logger whose methods take keys by keyword. See Note [Keys of log lines].

    Each key is also an attribute of the record, for filters and for formatters of the store's own.
    """

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log the message if its level is enabled, with the keys that are not None, and the current trace."""
        if not self.isEnabledFor(level):
            return
        keys = {name: value for name, value in options.items() if name not in OPTIONS and value is not None}
        if "trace" not in keys and (trace := tracing.trace_id(tracing.traceparent())):
            keys["trace"] = trace
        kept: MutableMapping[str, Any] = {name: value for name, value in options.items() if name in OPTIONS}
        text = str(msg) % args if args else str(msg)
        if not text.isprintable():
            msg, args, text = "%s", (_escaped(text),), _escaped(text)
        elif keys and not args:
            msg = text.replace("%", "%%")
        kept["extra"] = {**kept.get("extra", {}), **keys, "orderhooks_text": text, "orderhooks_keys": keys}
        # The caller's line is the one that is logged, not this one.
        kept["stacklevel"] = kept.get("stacklevel", 1) + 1
        # The ids stay arguments: programs that group lines go by the message before they are put in.
        pattern = "".join(f" {name}=%s" for name in keys)
        values = [_shown(value) for value in keys.values()]
        self.logger.log(level, f"{msg}{pattern}", *args, *values, **kept)


def get_logger(name: str) -> KeyedLogger:
    """The logger of that name, with keys."""
    return KeyedLogger(logging.getLogger(name))


class JsonFormatter(logging.Formatter):
    """Each line one JSON object: `time` (RFC 3339, UTC), `level`, `logger`, `message`, the keys, `exception`.

    It takes the records of any logger; those of others have no keys. `exception` is the traceback, `stack` the stack if
    the line was logged with one.
    """

    def __init__(self) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line without the end of line."""
        keys: Mapping[str, Any] = getattr(record, "orderhooks_keys", {})
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": getattr(record, "orderhooks_text", None) or record.getMessage(),
            **keys,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return TO_JSON(line)


def _shown(value: object) -> str:
    """A value behind `key=`: in quotes, as in JSON, if it would not end where it seems to."""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text if text and text.isprintable() and not ENDS.search(text) else f'"{_escaped(text, quote=True)}"'


def _escaped(text: str, *, quote: bool = False) -> str:
    """Text without what ends or hides a line: as in JSON, each such character by its number."""
    if quote:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1].replace("\x7f", "\\u007f") for char in text)
