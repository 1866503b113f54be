"""The topics of a shop's own status pipelines, for orders and for lines."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

__all__ = ["BUILT_IN", "statuses_reached", "topic_of"]

# Statuses that mean what a built-in topic means, in lower case.
BUILT_IN: Mapping[str, str] = {
    "cancelled": "order.cancelled",
    "canceled": "order.cancelled",
    "complete": "order.closed",
    "completed": "order.closed",
    "closed": "order.closed",
}


def topic_of(status: str, prefix: str) -> str:
    """The topic of a status: `order.status_being_processed` for “Being processed” and the prefix `order.status_`.

    Letters lose their accents. Those of other scripts are written as code points, so that each status has a topic.
    """
    plain = "".join(one for one in unicodedata.normalize("NFKD", status.lower()) if not unicodedata.combining(one))
    spelled = "".join(one if one.isascii() else f" u{ord(one):x} " if one.isalnum() else " " for one in plain)
    return prefix + ("_".join(re.findall(r"[a-z0-9]+", spelled)) or "blank")


def statuses_reached(pipeline: Mapping[str, Iterable[str]]) -> list[str]:
    """The statuses to which another status leads, in the pipeline's order.

    An order only begins with the others: `order.created` reports them.
    """
    following = {status for before, after in pipeline.items() for status in after if status != before}
    return [status for status in dict.fromkeys((*pipeline, *sorted(following))) if status in following]
