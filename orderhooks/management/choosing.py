"""Choosing: the subscription that a person named on the command line, by its public id or its name."""

from django.core.management.base import CommandError

from orderhooks.models import Subscription

__all__ = ["subscription"]


def subscription(text: str) -> Subscription:
    """Raises CommandError if there is none, or several of that name."""
    found = list(Subscription.objects.filter(public_id=text)) or [
        one for one in Subscription.objects.filter(name=text).order_by("pk") if one.name == text
    ]
    if not found:
        raise CommandError(f"No subscription has the id or name {text!r}. `manage.py orderhooks_status` lists them.")
    if len(found) > 1:
        ids = ", ".join(one.public_id for one in found)
        raise CommandError(f"{len(found)} subscriptions are called {text!r}. Give the id of one: {ids}.")
    return found[0]
