"""`manage.py orderhooks_reencrypt`: encrypt what is stored with the newest of ENCRYPTION_KEYS, to retire the others."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orderhooks import conf
from orderhooks.db import encrypted_records
from orderhooks.models import AccessToken, Attempt, Change, Delivery, Event, Subscription, SubscriptionSecret

# What orders contain is in these.
RECORDS = (Change, Event, Delivery, Attempt)


class Command(BaseCommand):
    help = (
        "Re-encrypts signing secrets, headers and logins with the newest key, and payloads too if ENCRYPT_PAYLOADS is "
        "on; if it is off, it stores payloads in the clear again. To change the key: put the new one "
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
        found = [encrypted_records.rewrite(model) for model in RECORDS]
        rows, unreadable_rows = (sum(counts) for counts in zip(*found, strict=True))
        form = "Encrypted with the newest key" if conf.current().encrypt_payloads else "Stored in the clear"
        self.stdout.write(f"{form}: what orders contain, in {rows} rows that had another form.")
        problems = []
        if unreadable := sorted({*keys.unreadable, *headers.unreadable}):
            problems.append(
                f"No configured key decrypts the secrets of {', '.join(unreadable)}. Put the missing key back into "
                "ORDERHOOKS['ENCRYPTION_KEYS'] and run this again, or rotate the secret and enter the headers "
                "and the login again."
            )
        if unreadable_rows:
            problems.append(
                f"No configured key decrypts what orders contain in {unreadable_rows} rows. Put the missing key back "
                "into ORDERHOOKS['ENCRYPTION_KEYS'] and run this again before you remove a key."
            )
        if problems:
            raise CommandError("\n".join(problems))
