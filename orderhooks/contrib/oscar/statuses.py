"""The topics of a shop's own status pipelines, for orders and for lines."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping

from orderhooks import topics

__all__ = ["BUILT_IN", "statuses_reached", "topic_of"]

CUT = 100
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

    Letters lose their accents. Those of other scripts are written as code points, so that each status has a topic. A
    topic that would be too long ends in a digest of its status.
    """
    plain = "".join(one for one in unicodedata.normalize("NFKD", status.lower()) if not unicodedata.combining(one))
    spelled = "".join(one if one.isascii() else f" u{ord(one):x} " if one.isalnum() else " " for one in plain)
    topic = prefix + ("_".join(re.findall(r"[a-z0-9]+", spelled)) or "blank")
    if len(topic) <= topics.LONGEST:
        return topic
    return f"{topic[:CUT]}_{hashlib.sha256(status.encode()).hexdigest()[:8]}"


def statuses_reached(pipeline: Mapping[str, Iterable[str]]) -> list[str]:
    """The statuses to which another status leads, in the pipeline's order.

    An order only begins with the others: `order.created` reports them.
    """
    following = {status for before, after in pipeline.items() for status in after if status != before}
    return [status for status in dict.fromkeys((*pipeline, *sorted(following))) if status in following]
