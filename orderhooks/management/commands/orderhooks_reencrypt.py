"""`manage.py orderhooks_reencrypt`: encrypt every secret with the newest of ENCRYPTION_KEYS, to retire the others."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orderhooks.models import AccessToken, Subscription, SubscriptionSecret


class Command(BaseCommand):
    help = (
        "Re-encrypts signing secrets, headers and logins with the newest key. To change the key: put the new one "
        "first in ORDERHOOKS['ENCRYPTION_KEYS'], restart, run this command, then remove the former key. "
        "It may run at any time and more than once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        keys = SubscriptionSecret.objects.reencrypt()
        headers = Subscription.objects.reencrypt()
        AccessToken.objects.reencrypt()
        self.stdout.write(
            f"Re-encrypted: {keys.rows} signing secrets, and the headers and logins of {headers.rows} subscriptions."
        )
        if unreadable := sorted({*keys.unreadable, *headers.unreadable}):
            raise CommandError(
                f"No configured key decrypts the secrets of {', '.join(unreadable)}. Put the missing key back into "
                "ORDERHOOKS['ENCRYPTION_KEYS'] and run this again, or rotate the secret and enter the headers "
                "and the login again."
            )
