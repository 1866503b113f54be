"""Log lines: their keys, in plain text and as JSON, and that no value forges a line."""

import ast
import io
import json
import logging
import logging.config
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import orderhooks
from orderhooks import logs, tasks, tracing
from orderhooks.models import Delivery
from tests.factories import make_order, make_subscription
from tests.receivers import RecordingReceiver

PACKAGE = Path(orderhooks.__file__).parent
GUIDE = (PACKAGE.parent / "docs" / "how-to" / "watch.md").read_text()
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines() -> Iterator[Any]:
    """What the logger `orderhooks.test` writes with a formatter: all of it, as text."""
    logger = logging.getLogger("orderhooks.test")
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    former = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel("INFO")
    logger.propagate = False

    def read(formatter: logging.Formatter) -> io.StringIO:
        handler.setFormatter(formatter)
        return written

    yield read
    logger.removeHandler(handler)
    logger.level, logger.propagate = former


@pytest.mark.parametrize(
    ("message", "arguments", "keys", "text"),
    [
        (
            "attempt",
            (),
            {"delivery": "dlv_1", "attempt": 2, "seconds": 0.41},
            "attempt delivery=dlv_1 attempt=2 seconds=0.41",
        ),
        ("went wrong: %s", ("E",), {"order": "4711"}, "went wrong: E order=4711"),
        ("100 % sure", (), {}, "100 % sure"),
        ("100 % sure", (), {"order": "50 %s"}, '100 % sure order="50 %s"'),
        ("m", (), {"status": None, "topic": ""}, 'm topic=""'),
        ("m", (), {"by": "Ada L", "of": "a=b", "key": 'x"y'}, 'm by="Ada L" of="a=b" key="x\\"y"'),
        ("m", (), {"order": "Ü-7"}, "m order=Ü-7"),
        ("m", (), {"order": "1\nERROR forged order=2"}, 'm order="1\\nERROR forged order=2"'),
        ("m", (), {"order": "\u2028\x7f\x85\x1b[2K"}, 'm order="\\u2028\\u007f\\u0085\\u001b[2K"'),
        ("no: %s", ("1\nERROR forged",), {"order": 7}, "no: 1\\nERROR forged order=7"),
    ],
)
def test_a_line_has_its_keys_and_stays_one_line(lines, message, arguments, keys, text: str) -> None:
    written = lines(logging.Formatter("%(levelname)s %(message)s"))
    logs.get_logger("orderhooks.test").info(message, *arguments, **keys)
    assert written.getvalue() == f"INFO {text}\n"


@pytest.mark.parametrize("value", ["dlv_1", "a\nb", "\u2028\x7f\x85", 7, 0.41, datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_line_of_json_is_one_object(lines, value: Any) -> None:
    written = lines(logs.JsonFormatter())
    logs.get_logger("orderhooks.test").warning("what: %s", "x\ny", order=value)
    [line] = written.getvalue().splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    plain = value if isinstance(value, str | int | float) else str(value)
    assert found == {"level": "WARNING", "logger": "orderhooks.test", "message": "what: x\\ny", "order": plain}


def test_json_has_the_traceback_and_takes_lines_of_others(lines) -> None:
    written = lines(logs.JsonFormatter())
    try:
        raise ValueError("bad\nluck")
    except ValueError:
        logs.get_logger("orderhooks.test").exception("it failed", event="evt_1")
    logging.getLogger("orderhooks.test").info("of %s", "others")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("ValueError: bad\nluck")
    assert (first["level"], first["message"], first["event"]) == ("ERROR", "it failed", "evt_1")
    assert (second["message"], "exception" in second) == ("of others", False)


def test_a_record_has_keys_a_stable_message_and_the_line_of_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "orderhooks.test"):
        logs.get_logger("orderhooks.test").info("attempt", delivery="dlv_1")
    [record] = caplog.records
    assert (vars(record)["delivery"], record.msg, record.filename) == ("dlv_1", "attempt delivery=%s", "test_logs.py")


def test_what_is_not_logged_costs_no_text(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("was read")

    with caplog.at_level("WARNING", "orderhooks.test"):
        logs.get_logger("orderhooks.test").info("attempt %s", Costly(), order=Costly())


def test_the_current_trace_is_a_key(lines, monkeypatch: pytest.MonkeyPatch) -> None:
    written = lines(logging.Formatter())
    monkeypatch.setattr(tracing, "traceparent", lambda: f"00-{TRACE}-b7ad6b7169203331-01")
    logs.get_logger("orderhooks.test").info("attempt")
    assert written.getvalue() == f"attempt trace={TRACE}\n"


@pytest.mark.once
def test_no_key_is_an_attribute_of_every_record() -> None:
    # `logging` raises KeyError for it, at the call.
    taken = set(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
    calls = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                calls += 1
                keys = {keyword.arg for keyword in node.keywords} - logs.OPTIONS
                assert not taken & keys, f"{path}:{node.lineno}"
    assert calls > 70


@pytest.mark.once
def test_every_logger_has_keys() -> None:
    # `logs` itself, and `tracing`, which it uses; and one that writes to Django's own logger.
    assert {path.name for path in PACKAGE.rglob("*.py") if "getLogger(" in path.read_text()} == {
        "logs.py",
        "tracing.py",
        "problems.py",
    }


@pytest.mark.django_db(transaction=True)
def test_the_guides_settings_write_an_attempt_as_json(
    receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = re.findall(r"```python\n(# settings.py\nLOGGING = .*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logger = logging.getLogger("orderhooks")
    former = logger.level, logger.propagate
    try:
        logging.config.dictConfig(names["LOGGING"])
        make_subscription(url=receiver.url, topics=["order.created"])
        make_order()
        tasks.pump()
    finally:
        logger.level, logger.propagate = former
        logger.handlers.clear()
    [line] = [found for found in map(json.loads, written.getvalue().splitlines()) if found["message"] == "attempt"]
    delivery = Delivery.objects.get()
    shown = json.loads(re.findall(r"```json\n(.*?)\n```", GUIDE)[-1])
    assert line.keys() == shown.keys() - {"next"}
    assert line["delivery"] == delivery.public_id
    assert line["subscription"] == delivery.subscription.public_id
    assert (line["attempt"], line["outcome"], line["status"], line["state"]) == (1, "2xx", 200, "delivered")
