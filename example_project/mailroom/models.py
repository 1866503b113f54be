"""The mailroom's book: which mails were sent to which customers."""

from django.db import models


class SentMail(models.Model):
    """A mail to a customer."""

    # One mail for each event, however often it arrives.
    event_id = models.CharField(max_length=64, unique=True)
    sequence = models.BigIntegerField()
    topic = models.CharField(max_length=128)
    order_id = models.CharField(max_length=64, db_index=True)
    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    sent_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.subject
