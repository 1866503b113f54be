"""Whether anybody is alarmed: by an e-mail to ADMINS, or by an operational subscription."""

from django.conf import settings
from django.utils.translation import gettext as _

from orderhooks.models import Subscription

__all__ = ["alarm_problems"]


def alarm_problems() -> list[str]:
    """A sentence with the remedy if nobody is alarmed. At most one query."""
    active = Subscription.objects.filter(operational=True, state=Subscription.State.ACTIVE)
    if settings.ADMINS or active.exists():
        return []
    return [
        _(
            "Nobody is alarmed when an endpoint fails or no worker runs: ADMINS is empty, and no operational"
            " subscription is active. Set ADMINS, or add a subscription that is operational."
        )
    ]
