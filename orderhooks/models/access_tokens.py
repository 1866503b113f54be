"""Access tokens: what authorization servers granted to subscriptions, for all workers.

# Note [One request for a token]
Many deliveries need a token at the same time, in several processes. The one that may ask for it holds a lease on the
row, which a conditional UPDATE gives to one process alone. No transaction is open during the request. The others wait
for the row to change. A failure is kept for some seconds, so that a thousand deliveries make one request.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Q
from django.views.decorators.debug import sensitive_variables

from orderhooks import encryption
from orderhooks.db.sealed_logins import OAUTH2
from orderhooks.encryption import Purpose
from orderhooks.models.signing_secrets import Reencrypted
from orderhooks.models.subscriptions import Subscription

# A token is renewed this long before it ends, or after half of its life if that is later.
SKEW_SECONDS = 60.0
FAILURE_LENGTH = 700


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def of(self, subscription: Subscription) -> "AccessToken":
        """The row of a subscription; it is made if there is none."""
        return self.filter(subscription=subscription).first() or self.get_or_create(subscription=subscription)[0]

    def attach(self, subscriptions: Iterable[Subscription]) -> None:
        """Give the subscriptions that log in by OAuth2 their `known_token`. No query without one."""
        chosen = [one for one in subscriptions if one.login_type == OAUTH2]
        if chosen:
            rows = {row.subscription_id: row for row in self.filter(subscription__in=chosen)}
            for one in chosen:
                one.known_token = rows.get(one.pk)  # type: ignore[attr-defined]

    def claim(self, row: "AccessToken", *, now: datetime, lease_seconds: float) -> uuid.UUID | None:
        """Take the lease, unless another process holds it or has changed the row since it was read.

        Returns the lease, which `grant` and `fail` need; None if it was not taken.
        """
        lease = uuid.uuid4()
        free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
        taken = self.filter(free, pk=row.pk, version=row.version).update(
            version=F("version") + 1, lease=lease, lease_expires_at=now + timedelta(seconds=lease_seconds)
        )
        return lease if taken else None

    @sensitive_variables()
    def grant(
        self, lease: uuid.UUID, token: str, *, login: str, seconds: float, now: datetime, after_refusal: bool
    ) -> bool:
        """Store the token that the holder of the lease got, which lives for `seconds`. False: the lease is lost."""
        kept = max(seconds - SKEW_SECONDS, seconds / 2)
        refused = {"renewed_after_refusal_at": now} if after_refusal else {}
        return self._finish(
            lease,
            login=login,
            encrypted=encryption.encrypt(token, Purpose.ACCESS_TOKEN),
            renew_at=now + timedelta(seconds=kept),
            failure="",
            failed_until=None,
            **refused,
        )

    def fail(self, lease: uuid.UUID, failure: str, *, login: str, until: datetime) -> bool:
        """Store why the holder of the lease got none, and until when nobody asks again."""
        return self._finish(
            lease, login=login, encrypted="", renew_at=None, failure=failure[:FAILURE_LENGTH], failed_until=until
        )

    def release(self, lease: uuid.UUID) -> bool:
        """Give the lease back; nothing came of it."""
        return self._finish(lease)

    def _finish(self, lease: uuid.UUID, **columns: object) -> bool:
        mine = self.filter(lease=lease)
        return bool(mine.update(version=F("version") + 1, lease=None, lease_expires_at=None, **columns))

    def reencrypt(self) -> Reencrypted:
        """Re-encrypt the tokens with the newest key. One that no key decrypts is forgotten."""
        done = 0
        for pk, version, token in self.exclude(encrypted="").values_list("pk", "version", "encrypted").iterator():
            try:
                new = encryption.reencrypt(token, Purpose.ACCESS_TOKEN)
            except encryption.UndecryptableError:
                new = ""
            if new != token:
                renew = {} if new else {"renew_at": None}
                done += self.filter(pk=pk, version=version).update(encrypted=new, version=F("version") + 1, **renew)
        return Reencrypted(done, ())


class AccessToken(models.Model):
    """The access token of a subscription, or why there is none. See Note [One request for a token]."""

    subscription = models.OneToOneField(Subscription, models.CASCADE, related_name="access_token")
    # The digest of the OAuth2 client that the rest is about.
    login = models.CharField(max_length=64, blank=True)
    encrypted = models.TextField(blank=True, editable=False)
    renew_at = models.DateTimeField(null=True)
    # When a token was last renewed because the endpoint refused it with 401.
    renewed_after_refusal_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=FAILURE_LENGTH, blank=True)
    failed_until = models.DateTimeField(null=True)
    version = models.PositiveBigIntegerField(default=0)
    lease = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"access token {self.pk}"

    @sensitive_variables()
    def text(self, *, login: str, now: datetime) -> str:
        """The token, if it may be used by this client now, otherwise "". Raises encryption.UndecryptableError."""
        return encryption.decrypt(self.encrypted, Purpose.ACCESS_TOKEN) if self.is_usable(login=login, now=now) else ""

    def is_usable(self, *, login: str, now: datetime) -> bool:
        """Whether there is a token that this client may use now."""
        return self.login == login and bool(self.encrypted) and self.renew_at is not None and self.renew_at > now

    def failure_now(self, *, login: str, now: datetime) -> str:
        """Why there is no token, while nobody asks again; otherwise ""."""
        recent = self.failed_until is not None and self.failed_until > now
        return self.failure if self.login == login and recent else ""

    def is_leased(self, *, now: datetime) -> bool:
        """Whether a process is asking for a token."""
        return self.lease_expires_at is not None and self.lease_expires_at > now
