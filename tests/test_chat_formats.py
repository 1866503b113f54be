"""Formats for chat programs: one sentence and a link, in which no text of a stranger becomes markup."""

import json
from typing import Any

import pytest

from orderhooks import catalogue, formats, operational
from orderhooks.formats import OutgoingEvent

# What a stranger may put into a name or an order's number.
HOSTILE = (
    "<!channel> <@U123|me> <https://evil.example|bank> & <at>Everyone</at> [pay](https://evil.example) *b* {{DATE(x)}}"
    " {{{DATE(y)}} www.evil.example WwW.evil.example HTTPS://evil.example\nsecond line"
)


def outgoing(topic: str, number: str = "1001", **data: Any) -> OutgoingEvent:
    body = catalogue.example(topic, None)
    body["data"] = {**body["data"], **data}
    return OutgoingEvent(body, "ord_1", number)


def sent(format: str, event: OutgoingEvent) -> Any:
    return json.loads(formats.get(format).encode(event))


def slack_texts(message: Any) -> tuple[str, str, str]:
    """The text for notifications, the text that is shown, and the link or ""."""
    shown, *links = message["blocks"]
    assert (shown["text"]["type"], shown["text"]["emoji"], message["mrkdwn"]) == ("plain_text", False, False)
    return message["text"], shown["text"]["text"], links[0]["elements"][0]["text"] if links else ""


def teams_text(message: Any) -> str:
    [attachment] = message["attachments"]
    card = attachment["content"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert "msteams" not in card, "nobody is mentioned"
    [block] = card["body"]
    assert block["type"] == "RichTextBlock", "a TextBlock would read Markdown"
    [run] = block["inlines"]
    return str(run["text"])


@pytest.mark.parametrize("topic", operational.TOPICS)
def test_an_alarm_is_its_message_and_a_link_to_its_page(topic: str) -> None:
    event = outgoing(topic)
    message, url = event.envelope["data"]["message"], event.envelope["data"]["url"]
    text, shown, link = slack_texts(sent("slack", event))
    assert text == shown == message
    assert link == f"<{url}|Open>"
    card = sent("teams", event)
    assert teams_text(card) == message
    assert card["attachments"][0]["content"]["actions"] == [{"type": "Action.OpenUrl", "title": "Open", "url": url}]


def test_an_order_is_its_topic_its_number_and_a_link_to_the_event(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": "https://shop.example.com"}
    event = outgoing("order.paid")
    assert slack_texts(sent("slack", event))[1:] == (
        "order.paid: 1001",
        f"<https://shop.example.com/api/events/{event.envelope['id']}/|Open>",
    )
    assert teams_text(sent("teams", event)) == "order.paid: 1001"


def test_without_a_base_url_there_is_no_link() -> None:
    event = outgoing("worker.missing", url=None)
    assert slack_texts(sent("slack", event))[2] == ""
    assert "actions" not in sent("teams", event)["attachments"][0]["content"]
    assert slack_texts(sent("slack", outgoing("order.paid")))[2] == ""


@pytest.mark.parametrize("event", [outgoing("order.paid", HOSTILE), outgoing("worker.missing", message=HOSTILE)])
def test_what_a_stranger_wrote_is_no_markup(event: OutgoingEvent) -> None:
    text, shown, _link = slack_texts(sent("slack", event))
    for one in (text, shown):
        assert not {"<", ">"} & {*one}
        assert one.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "").count("&") == 0
    for one in (text, shown, teams_text(sent("teams", event))):
        assert not [markup for markup in ("://", "www.", "\n", "{{") if markup in one.lower()]


def test_a_link_ends_where_it_ends() -> None:
    event = outgoing("worker.missing", url="https://shop.example.com/a|b>c&d<e")
    assert slack_texts(sent("slack", event))[2] == "<https://shop.example.com/a%7Cb%3Ec&amp;d%3Ce|Open>"


@pytest.mark.parametrize("letter", ["x", "&", "<", "東"])
def test_a_long_text_is_cut_to_what_they_take(letter: str) -> None:
    event = outgoing("worker.missing", message=letter * 20_000)
    _text, shown, _link = slack_texts(sent("slack", event))
    assert 0 < len(shown) <= 3000
    assert shown.count("&") == shown.count(";")
    assert len(formats.get("teams").encode(event)) < 28_000
    assert len(slack_texts(sent("slack", outgoing("order.paid", letter * 5000)))[1]) < 400
