"""Look up the subscription that is named on the command line, by its public id or its name."""

from django.core.management.base import CommandError

from orderhooks.models import Subscription
from orderhooks.models.subscriptions import AmbiguousNameError

__all__ = ["subscription"]


def subscription(text: str) -> Subscription:
    """The subscription whose public id or, otherwise, whose name is `text`.

    Raises:
        CommandError: no subscription fits, or several have that name. The message lists their ids.
    """
    try:
        found = Subscription.objects.filter(public_id=text).first() or Subscription.objects.named(text)
    except AmbiguousNameError as error:
        ids = ", ".join(error.public_ids)
        raise CommandError(
            f"{len(error.public_ids)} subscriptions are called {text!r}. Give the id of one: {ids}."
        ) from None
    if found is None:
        raise CommandError(f"No subscription has the id or name {text!r}. `manage.py orderhooks_status` lists them.")
    return found
