"""Raised alarms: those that no column of a subscription remembers, each with the e-mail about it that is due."""

from datetime import datetime, timedelta

from django.db import models, router, transaction

__all__ = ["RaisedAlarm"]

KEPT_FOR = timedelta(days=90)


class RaisedAlarmQuerySet(models.QuerySet["RaisedAlarm"]):
    def mails_due(self, *, now: datetime) -> "RaisedAlarmQuerySet":
        """Those whose e-mail has to be sent."""
        return self.filter(mail_due_at__lte=now)


class RaisedAlarm(models.Model):
    """An alarm that was raised. Its key is unique, so that of several workers that see the same one raises it."""

    key = models.CharField(max_length=160, unique=True)
    topic = models.CharField(max_length=64)
    # The e-mail to ADMINS.
    subject = models.CharField(max_length=250)
    text = models.TextField()
    raised_at = models.DateTimeField()
    # Null: it was sent, or there is nobody to send it to.
    mail_due_at = models.DateTimeField(null=True)

    objects = RaisedAlarmQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return self.key

    @classmethod
    def raise_once(cls, key: str, *, now: datetime, **fields: object) -> bool:
        """Record an alarm. False if it was raised before. To be called in the transaction that publishes its event.

        Deletes those that were raised long ago.
        """
        using = router.db_for_write(cls)
        with transaction.atomic(using=using):
            _row, is_new = cls.objects.using(using).get_or_create(key=key, defaults={"raised_at": now, **fields})
        if is_new:
            cls.objects.using(using).filter(raised_at__lt=now - KEPT_FOR).delete()
        return is_new

    def claim_mail(self) -> bool:
        """Take the right to send the e-mail. It comes before the e-mail, so that a crash sends none twice."""
        mine = RaisedAlarm.objects.filter(pk=self.pk, mail_due_at=self.mail_due_at)
        return bool(mine.update(mail_due_at=None))
