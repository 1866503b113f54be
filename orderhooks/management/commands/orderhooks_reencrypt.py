"""`manage.py orderhooks_reencrypt`: put every secret under the newest of ENCRYPTION_KEYS, so that old ones can go."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orderhooks.models import Subscription, SubscriptionSecret


class Command(BaseCommand):
    help = (
        "Re-encrypts signing secrets and headers under the newest key. Put a new key in front of "
        "ORDERHOOKS['ENCRYPTION_KEYS'], restart, run this, then take the former key out. May run at any time and twice."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        keys = SubscriptionSecret.objects.reencrypt()
        headers = Subscription.objects.reencrypt_headers()
        self.stdout.write(
            f"Put under the newest key: {keys.rows} signing secrets, the headers of {headers.rows} subscriptions."
        )
        if unreadable := sorted({*keys.unreadable, *headers.unreadable}):
            raise CommandError(
                f"No key opens what {', '.join(unreadable)} has stored. Put the missing key back into "
                "ORDERHOOKS['ENCRYPTION_KEYS'] and run this again, or rotate the secret and enter the headers anew."
            )
