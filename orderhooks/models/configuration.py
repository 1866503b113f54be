"""Configuration: what people choose of a subscription, and what of it is valid."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, router
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from orderhooks import conf, formats, selection, topics, transport, versions
from orderhooks.models.compatibility import (
    EXPRESSIONS,
    KIND_KEPT,
    ORDERS_ONLY,
    SELECTION,
    format_errors,
    operational_errors,
    selection_errors,
)
from orderhooks.transport.text import BIDI_CONTROLS

__all__ = ["CONFIGURABLE", "REQUIRED", "HasConfiguration", "validate_format", "validate_topics", "validate_url"]

# A pump that ends waits for the slowest attempt, and claims nothing meanwhile.
LONGEST_TIMEOUT_SECONDS = 30
LONGEST_UPDATE_INTERVAL_SECONDS = 24 * 60 * 60
LONGEST_OBJECTIVE_SECONDS = 7 * 24 * 60 * 60
# In percent.
LOWEST_SHARE, HIGHEST_SHARE = 1.0, 100.0

# All that people choose, in the order in which it is shown. The API, the admin and declarations take it from here.
CONFIGURABLE = (
    "name",
    "url",
    "operational",
    "topics",
    "changed_fields",
    "filter",
    "projection",
    "api_version",
    "store",
    "format",
    "headers",
    "authentication",
    "client_certificate",
    "signature",
    "ordered",
    "update_interval_seconds",
    "max_in_flight",
    "max_per_second",
    "timeout_seconds",
    "objective_seconds",
    "objective_share",
    "contact_email",
    "mail_failing",
    "mail_disabled",
    "mail_recovered",
    "state",
)
# A subscription can't be made without these.
REQUIRED = ("name", "url", "topics")
# Validated whenever they are saved, by a program too. The others can hold nothing that sending could not work with.
VALIDATED = (
    "operational",
    "name",
    "store",
    "url",
    "topics",
    "format",
    *SELECTION,
    "api_version",
    "signature",
    "update_interval_seconds",
    "max_in_flight",
    "max_per_second",
    "timeout_seconds",
    "objective_seconds",
    "objective_share",
    "contact_email",
)

BIDI = re.compile(f"[{BIDI_CONTROLS}]")
NO_TOPICS = _('Name at least one topic, as a list: ["order.paid"], ["order.*"] or ["*"].')


def validate_name(name: str) -> None:
    """Raises ValidationError for a name that breaks the line, or turns the text around it round."""
    for character in name:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or BIDI.match(character):
            text = _("It has the control character U+%(code)04X at place %(place)d. Remove it.")
            values = {"code": ord(character), "place": name.index(character) + 1}
            raise ValidationError(text, code="name", params=values)


def validate_url(url: str) -> None:
    """Raises ValidationError for a URL that no delivery could be sent to."""
    try:
        transport.check_url(url)
    except transport.UrlRefusedError as error:
        raise ValidationError(str(error), code="url") from None


def validate_number(number: float) -> None:
    """Raises ValidationError for NaN, which is neither above nor below any bound."""
    if math.isnan(number):
        raise ValidationError(_("Give a number, such as 99.5."), code="number")


def validate_topics(patterns: object) -> None:
    """Raises ValidationError unless it is a list of topics, families (`order.*`) or `*`, with at least one."""
    if not isinstance(patterns, list) or not patterns:
        raise ValidationError(NO_TOPICS, code="topics")
    for pattern in patterns:
        try:
            # Which kind of subscription may have it: `operational_errors`.
            if not topics.is_operational_pattern(pattern):
                topics.require_pattern(pattern)
        except topics.UnknownTopicError as error:
            raise ValidationError(str(error), code="topic") from None


def validate_format(name: str) -> None:
    """Raises ValidationError unless it is a built-in format or one of the setting FORMATS."""
    try:
        formats.get(name)
    except formats.UnknownFormatError as error:
        raise ValidationError(str(error), code="format") from None


def validate_version(name: str) -> None:
    """Raises ValidationError unless it is a registered version of the body."""
    try:
        versions.require(name)
    except versions.VersionError as error:
        raise ValidationError(str(error), code="api_version") from None


def validate_changed_fields(patterns: object) -> None:
    """Raises ValidationError unless it is a list of fields whose changes an order source captures."""
    try:
        selection.check_fields(patterns)
    except selection.FieldPatternError as error:
        raise ValidationError(str(error), code="changed_fields") from None


class HasConfiguration(models.Model):
    """A row of what people choose. Its headers, logins, signature and pace are in modules of their own."""

    name = models.CharField(_("name"), max_length=200, validators=[validate_name])
    store = models.CharField(_("store"), max_length=255, blank=True, help_text=_("Leave blank for all stores."))
    url = models.CharField(_("URL"), max_length=2000, validators=[validate_url])
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("owner"),
        help_text=_("This user sees and changes it in the API, like users who may manage all subscriptions."),
    )
    operational = models.BooleanField(
        _("operational"),
        default=False,
        db_default=False,
        help_text=_(
            "It gets alarms about all endpoints, workers and order sources in place of orders. Only users who may"
            " manage all subscriptions can add or change such a one."
        ),
    )
    topics = models.JSONField(
        _("topics"),
        default=list,
        validators=[validate_topics],
        help_text=_('A list such as ["order.paid", "order.cancelled"], ["order.*"] or ["*"].'),
    )
    # Its names are no choices of the field, so that a format of a store's own needs no migration.
    format = models.CharField(
        _("format"),
        max_length=32,
        default=formats.STANDARD,
        validators=[validate_format],
        help_text=_(
            "How the body is written: standard, thin, cloudevents, cloudevents_binary, form, slack, teams, or one of"
            " FORMATS."
        ),
    )
    changed_fields = models.JSONField(
        _("changed fields"),
        default=list,
        blank=True,
        validators=[validate_changed_fields],
        help_text=_(
            'Of order.updated, only what changes one of these: a list such as ["shipping_address", "lines.quantity"]. '
            "Empty: any change."
        ),
    )
    filter = models.TextField(
        _("filter"),
        blank=True,
        help_text=_("Only events for which this JMESPath expression is true. It reads the whole body."),
    )
    projection = models.TextField(
        _("projection"),
        blank=True,
        help_text=_("A JMESPath expression that makes the body's data: an object. It reads the whole body."),
    )
    api_version = models.CharField(
        _("version"),
        max_length=versions.LONGEST,
        default=versions.newest,
        validators=[validate_version],
        help_text=_("It gets bodies in this version, also when there are newer ones, until it is moved on."),
    )
    ordered = models.BooleanField(
        _("ordered"),
        default=False,
        help_text=_("Send an order's events one after the other: one that fails holds up the later ones of its order."),
    )
    update_interval_seconds = models.PositiveIntegerField(
        _("seconds between updates"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_UPDATE_INTERVAL_SECONDS)],
        help_text=_(
            "At most one order.updated of an order in this time, with all its changes: with 60, ten edits in a minute"
            " become two webhooks. Other topics never wait. 86400 at most. Blank: each update is sent at once."
        ),
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        _("seconds for a response"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TIMEOUT_SECONDS)],
        help_text=_("How long one attempt may take, 30 at most. Blank: as the setting TIMEOUT_SECONDS says."),
    )
    objective_seconds = models.PositiveIntegerField(
        _("objective in seconds"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_OBJECTIVE_SECONDS)],
        help_text=_(
            "Its objective: deliveries should arrive within this time after the change of the order. 604800 at most."
            " Blank: no objective."
        ),
    )
    objective_share = models.FloatField(
        _("objective in percent"),
        default=99.0,
        db_default=99.0,
        validators=[MinValueValidator(LOWEST_SHARE), MaxValueValidator(HIGHEST_SHARE), validate_number],
        help_text=_("How many of 100 deliveries should arrive in time, such as 99.5. The rest is its error budget."),
    )
    contact_email = models.EmailField(
        _("contact"), blank=True, help_text=_("Gets the e-mails about this endpoint, like the ADMINS.")
    )
    mail_failing = models.BooleanField(
        _("when it fails"), default=True, help_text=_("Every attempt has failed for an hour.")
    )
    mail_disabled = models.BooleanField(
        _("when it is disabled"), default=True, help_text=_("Nothing is sent to it any more.")
    )
    mail_recovered = models.BooleanField(_("when it recovers"), default=True, help_text=_("It responds again."))

    class Meta:
        abstract = True

    def require_valid(self, written: Iterable[str] | None = None) -> None:
        """Raises ValidationError if a value that a person chose is new and not valid.

        `written`: the names of the fields that are about to be saved; None: all. Workers save others alone, and those
        are not looked at.
        """
        deferred = self.get_deferred_fields()
        names = [name for name in VALIDATED if (written is None or name in written) and name not in deferred]
        if names and not self._state.adding:
            rows = type(self)._base_manager.using(router.db_for_write(type(self), instance=self))
            stored = rows.filter(pk=self.pk).values(*names).first() or {}
            names = [name for name in names if name not in stored or stored[name] != getattr(self, name)]
            if "operational" in names and stored:
                raise ValidationError({"operational": ValidationError(KIND_KEPT, code="operational")})
        if not names:
            return
        if "api_version" in names:
            # They read the body, which is another one now.
            names += [name for name in EXPRESSIONS if name not in (*names, *deferred)]
        errors: dict[str, list[ValidationError]] = {}
        try:
            self.clean_fields(exclude={field.name for field in self._meta.fields} - set(names))
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        if "topics" in names and not self.topics:
            # An empty list is a blank value, which has no validators to Django.
            errors["topics"] = [ValidationError(NO_TOPICS, code="topics")]
        if errors:
            raise ValidationError(errors)

    @sensitive_variables()
    def clean(self) -> None:
        super().clean()
        self.require_compatible_format()

    @sensitive_variables()
    def require_compatible_format(self, written: Iterable[str] | None = None) -> None:
        """Raises ValidationError if the headers or the projection do not go together with the format.

        `written`: the names of the fields that are about to be saved; None: all.
        """
        concerned = {"format", "headers", "projection"}
        if concerned & self.get_deferred_fields() or (written is not None and not concerned & {*written}):
            return
        if errors := format_errors(self.format, getattr(self, "headers", {}), self.projection):
            raise ValidationError(errors)

    @sensitive_variables()
    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """What is stored already is not judged again: settings may have refused a URL since, or dropped a topic."""
        try:
            self._clean_all_fields(set(exclude or ()))
        except ValidationError as error:
            if self._state.adding:
                raise
            rows = type(self)._base_manager.using(router.db_for_write(type(self), instance=self))
            stored = rows.filter(pk=self.pk).values(*{*error.error_dict, "api_version"}).first() or {}
            if found := {name: errors for name, errors in error.error_dict.items() if not self._keeps(name, stored)}:
                raise ValidationError(found) from None

    def _clean_all_fields(self, exclude: set[str]) -> None:
        errors: dict[str, list[ValidationError]] = {}
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        names = {*EXPRESSIONS} - exclude
        if names and not {"topics", "api_version"} & errors.keys():
            expressions = {name: getattr(self, name) for name in names}
            found = selection_errors(self.topics, self.api_version, **expressions)
            errors |= {name: [error] for name, error in found.items()}
        if "topics" not in errors:
            choices = {name: getattr(self, name) for name in ORDERS_ONLY}
            unfit = operational_errors(self.operational, self.topics, **choices)
            errors |= {name: [error] for name, error in unfit.items() if name not in exclude}
        if errors:
            raise ValidationError(errors)

    def _keeps(self, name: str, stored: Mapping[str, Any]) -> bool:
        """Whether the field's value is as it is stored; of topics, whether those that are not stored are valid."""
        if name not in stored:
            return False
        if name in EXPRESSIONS and stored["api_version"] != self.api_version:
            return False
        value, former = getattr(self, name), stored[name]
        if name != "topics" or not isinstance(value, list) or not value:
            return bool(value == former)
        new = [pattern for pattern in value if pattern not in former]
        try:
            if new:
                validate_topics(new)
        except ValidationError:
            return False
        return True

    @property
    def update_interval(self) -> timedelta | None:
        """The least time between two `order.updated` of an order. None: each is sent at once."""
        return timedelta(seconds=self.update_interval_seconds) if self.update_interval_seconds else None

    def due_by(self, at: datetime) -> datetime | None:
        """When a delivery has to arrive of which the receiver should hear from `at` on. None: no objective."""
        return at + timedelta(seconds=self.objective_seconds) if self.objective_seconds else None

    @property
    def attempt_seconds(self) -> float:
        """How long one attempt may take: its own limit, or the setting's."""
        return self.timeout_seconds or conf.current().timeout_seconds
