"""Alarm states: what people were notified of last about an endpoint. `notifications` compares it with what is."""

from django.db import models

__all__ = ["HasAlarmStates", "NotifiedState"]


class NotifiedState(models.TextChoices):
    """What its contact and the ADMINS were notified of last; and of which there was an operational event last."""

    HEALTHY = "healthy"
    FAILING = "failing"
    DISABLING_SOON = "disabling_soon"
    DISABLED = "disabled"


class HasAlarmStates(models.Model):
    """A row of what was reported of it last, by each way out. See Note [One alarm, two ways out]."""

    NotifiedState = NotifiedState

    last_notified_state = models.CharField(
        max_length=16, choices=NotifiedState, default=NotifiedState.HEALTHY, editable=False
    )
    last_notified_at = models.DateTimeField(null=True, editable=False)
    last_alarmed_state = models.CharField(
        max_length=16,
        choices=NotifiedState,
        default=NotifiedState.HEALTHY,
        db_default=NotifiedState.HEALTHY,
        editable=False,
    )
    # When its backlog was reported. Null once that has cleared.
    backlog_alarmed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True
