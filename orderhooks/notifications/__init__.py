"""Notifications: alarms about endpoints, workers and order sources, by e-mail and as operational events.

`alarms` has the table of alarms with their texts, `states` what of a subscription's state is due, `endpoints` decides
and sends, `system` raises what is about no single endpoint, `mails` and `events` are the two ways out. `certificates`
warns before a client certificate ends.

# Note [One alarm, two ways out]
What is due follows from the subscription's state, and from the state of the last e-mail and of the last event. So none
is lost with a queue, and none is sent for each delivery. The UPDATE that claims an alarm decides between two workers.
The event is written in its transaction; the e-mail is sent after it, so that a crash sends none twice.
"""

from orderhooks.notifications.endpoints import DIGEST_ABOVE, is_due, look, send_due
from orderhooks.notifications.mails import CONTACT_MAILS_A_DAY
from orderhooks.notifications.states import BACKLOG_AFTER, FAILING_AFTER, PAUSE, due, warning_before
from orderhooks.notifications.system import WORKER_MISSING_AFTER, send_reconciliation, worker_is_back

__all__ = [
    "BACKLOG_AFTER",
    "CONTACT_MAILS_A_DAY",
    "DIGEST_ABOVE",
    "FAILING_AFTER",
    "PAUSE",
    "WORKER_MISSING_AFTER",
    "due",
    "is_due",
    "look",
    "send_due",
    "send_reconciliation",
    "warning_before",
    "worker_is_back",
]
