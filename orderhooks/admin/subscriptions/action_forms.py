"""What is typed for an action: how to resume a subscription, how to rotate its secret, which order to preview."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from orderhooks import previews, versions
from orderhooks.admin.times import TimeField
from orderhooks.models import Subscription
from orderhooks.models.signing_secrets import LONGEST_OVERLAP, OVERLAP

HOUR = timedelta(hours=1)
OVERLAP_HOURS = round(OVERLAP / HOUR)


class ResumptionForm(forms.Form):
    """What should happen to the held deliveries."""

    ALL, NEWER, NONE = "all", "newer", "none"

    choice = forms.ChoiceField(
        label=_("Held deliveries"),
        widget=forms.RadioSelect,
        initial=ALL,
        choices=[
            (ALL, _("Send all of them, the longest due first")),
            (NEWER, _("Send those that are newer than the time below, and skip the others")),
            (NONE, _("Skip all of them: only what happens from now on is sent")),
        ],
    )
    newer_than = TimeField(
        label=_("Newer than"),
        required=False,
        initial=lambda: timezone.now() - timedelta(days=1),
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("choice") != self.NEWER or "newer_than" in self.errors:
            return given
        newer_than = given.get("newer_than")
        if newer_than is None:
            self.add_error("newer_than", _("Give the time: newer deliveries are sent, older ones are skipped."))
        elif newer_than >= timezone.now():
            # It would skip all of them.
            self.add_error("newer_than", _("Choose a time that is past."))
        return given

    def skip_before(self, *, now: datetime) -> datetime | None:
        """The argument of `operations.resume`."""
        newer_than: datetime | None = self.cleaned_data["newer_than"]
        return {self.ALL: None, self.NEWER: newer_than, self.NONE: now}[self.cleaned_data["choice"]]


class RotationForm(forms.Form):
    """How long the former secret goes on signing."""

    hours = forms.TypedChoiceField(
        label=_("The former secret"),
        coerce=int,
        initial=OVERLAP_HOURS,
        widget=forms.RadioSelect,
        choices=[
            (0, _("is revoked now: receivers that don't have the new one yet refuse requests")),
            *(
                (
                    hours,
                    ngettext_lazy(
                        "signs beside the new one for %d hour", "signs beside the new one for %d hours", hours
                    )
                    % hours,
                )
                for hours in (1, 6, OVERLAP_HOURS, 72, round(LONGEST_OVERLAP / HOUR))
            ),
        ],
    )

    @property
    def overlap(self) -> timedelta:
        overlap: timedelta = self.cleaned_data["hours"] * HOUR
        return overlap


class VersionForm(forms.Form):
    """The version of the body to move to."""

    to = forms.ChoiceField(label=_("Version"))

    def __init__(self, *args: Any, subscription: Subscription, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [name for name in reversed(versions.registered()) if name != subscription.api_version]
        self.fields["to"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]


class PreviewForm(forms.Form):
    """Which order, and what would have happened to it."""

    order = forms.CharField(label=_("Order number"), max_length=64)
    topic = forms.ChoiceField(label=_("Topic"))

    def __init__(self, *args: Any, subscription: Subscription, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["topic"].choices = [  # type: ignore[attr-defined]
            (name, name) for name in previews.topics_to_preview(subscription)
        ]
