"""Changes of orders that were saved and could not be captured, in plain words with what to do."""

from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks.models import CaptureFailure
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import time_text

__all__ = ["LOSSES_SHOWN_FOR", "losses", "withheld_losses"]

# How long a change that could not be captured is reported.
LOSSES_SHOWN_FOR = timedelta(days=7)
MOST_ERROR = 300
SEE_ERROR = "`manage.py orderhooks_status` shows the error."
LOST_ONE = gettext_lazy(
    "A change of an order was saved and made no event (source %(source)s, order %(order)s, at %(time)s): "
    "%(error)s Fix the cause, then publish the change with orderhooks.publishing.publish."
)
LOST_MANY = gettext_lazy(
    "%(count)s changes of orders were saved and made no events (source %(source)s, last order %(order)s at "
    "%(time)s): %(error)s Fix the cause, then publish the change with orderhooks.publishing.publish."
)
LOST_SOMEWHERE = gettext_lazy(
    "Changes of orders were saved lately and made no events, perhaps not of your stores. Have somebody who sees all "
    "stores look at the dashboard."
)


def withheld_losses(*, now: datetime) -> list[str]:
    """A sentence if there are any, for users who are limited to stores: a failure does not say of which store its
    orders are. One query.
    """
    return [str(LOST_SOMEWHERE)] if CaptureFailure.objects.recent(since=now - LOSSES_SHOWN_FOR).exists() else []


def losses(*, now: datetime, with_errors: bool = True) -> list[str]:
    """What was saved in the last week and could not be captured: it made no event. One sentence for each kind of
    failure, with what to do. One query.

    `with_errors`: an error may quote the order, which not everybody may see.
    """
    found = []
    for one in CaptureFailure.objects.recent(since=now - LOSSES_SHOWN_FOR):
        words = LOST_ONE if one.count == 1 else LOST_MANY
        found.append(
            str(words)
            % {
                "count": count_text(one.count),
                "source": one.source or "?",
                "time": time_text(one.last_at, now=now),
                "order": one.order_pk or "?",
                "error": " ".join(one.error.split())[:MOST_ERROR] if with_errors else _(SEE_ERROR),
            }
        )
    return found
