"""Where a receiver of this project finds the secret that its webhooks are signed with."""

from collections.abc import Callable

from shop.models import ReceiverSecret


def secret_of(receiver: str) -> Callable[[], list[str]]:
    """For `@webhook(secret=…)`: called for each request, so a new secret needs no restart."""
    return lambda: list(ReceiverSecret.objects.filter(receiver=receiver).values_list("secret", flat=True))
