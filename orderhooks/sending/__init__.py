"""Sending: claims due deliveries, signs and posts them side by side on threads, records what came of each.

The pump calls a Sender's `claim` and `collect` in turn. Threads only talk to endpoints; the database is the calling
thread's.
"""

from orderhooks.sending.curl import curl_script
from orderhooks.sending.pool import Sender, attempt, lease_for
from orderhooks.sending.preparing import Request, prepare
from orderhooks.sending.recording import Sent, record, recover
from orderhooks.sending.redelivering import Redelivery, redelivery_of

__all__ = [
    "Redelivery",
    "Request",
    "Sender",
    "Sent",
    "attempt",
    "curl_script",
    "lease_for",
    "prepare",
    "record",
    "recover",
    "redelivery_of",
]
