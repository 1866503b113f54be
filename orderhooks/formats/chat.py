"""Messages for chat channels: a sentence and a link, as Slack and Microsoft Teams take them by a webhook of theirs.

Names and order numbers come from strangers. So no text is read as markup: mentions, links and formatting stay letters.

Sources: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
https://docs.slack.dev/messaging/formatting-message-text (escaping),
https://docs.slack.dev/reference/block-kit/composition-objects/text-object (3,000 characters);
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using (28 KB),
https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features (a RichTextBlock supports no Markdown).
"""

import re
from itertools import accumulate
from typing import Any

from django.utils.translation import gettext_lazy as _

from orderhooks import operational, payloads
from orderhooks.formats.outgoing import Format, OutgoingEvent
from orderhooks.transport.text import without_links

__all__ = ["SlackFormat", "TeamsFormat"]

LONGEST = 2000
LONGEST_NUMBER = 60
# What a text object of Slack takes.
SLACK_CHARACTERS = 3000
SLACK_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What would end the target of a link of Slack.
SLACK_URL_ESCAPES = {"&": "&amp;", "<": "%3C", ">": "%3E", "|": "%7C"}


def _message(event: OutgoingEvent) -> tuple[str, str]:
    """A line of plain text, and the URL of a page about it; "" without the setting BASE_URL."""
    envelope = event.envelope
    if envelope["type"] in operational.TOPICS:
        data = envelope["data"]
        return _plain(data["message"], LONGEST), data["url"] or ""
    number = _plain(event.order_number, LONGEST_NUMBER)
    store = _plain(envelope["store"], LONGEST_NUMBER)
    text = envelope["type"] + (f": {number}" if number else "") + (f" ({store})" if store else "")
    return text, event.url if event.base_url else ""


def _plain(text: str, longest: int) -> str:
    """One line, cut, without what chat programs turn into links, or Adaptive Cards into dates."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    line = re.sub(r"\{(?=\{)", "{ ", " ".join(without_links(printable).split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


class SlackFormat(Format):
    """A message for an incoming webhook of Slack."""

    label = _("Slack: a message for an incoming webhook")
    has_data = False

    def encode(self, event: OutgoingEvent) -> bytes:
        text, url = _message(event)
        escaped = _escaped_for_slack(text)
        blocks: list[dict[str, Any]] = [
            {"type": "section", "text": {"type": "plain_text", "text": escaped, "emoji": False}}
        ]
        if url:
            link = f"<{''.join(SLACK_URL_ESCAPES.get(letter, letter) for letter in url)}|Open>"
            blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link, "verbatim": True}]})
        # The text is for notifications, where blocks are not shown.
        return payloads.encode({"text": escaped, "mrkdwn": False, "blocks": blocks})


def _escaped_for_slack(text: str) -> str:
    pieces = [SLACK_ESCAPES.get(letter, letter) for letter in text]
    # No escape is cut in two.
    fitting = sum(length <= SLACK_CHARACTERS for length in accumulate(map(len, pieces)))
    return "".join(pieces[:fitting])


class TeamsFormat(Format):
    """A message with an Adaptive Card 1.4 for a webhook of Teams' Workflows."""

    label = _("Microsoft Teams: a card for a webhook of Workflows")
    has_data = False

    def encode(self, event: OutgoingEvent) -> bytes:
        text, url = _message(event)
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]}],
        }
        if url:
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": url}]
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return payloads.encode({"type": "message", "attachments": [attachment]})
