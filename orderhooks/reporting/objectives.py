"""Objectives: whether deliveries arrive in time, how much of the error budget is left, and how fast it is used.

What counts is in Note [What counts for an objective]. The first half is pure: counts to shares.

Source of the terms and of the windows: Google, The Site Reliability Workbook, chapter 5, "Alerting on SLOs",
"6: Multiwindow, Multi-Burn-Rate Alerts", https://sre.google/workbook/alerting-on-slos/.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, Sum
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from orderhooks.db.bounded_counts import counts_up_to
from orderhooks.models import Delivery, ObjectiveStats, Subscription
from orderhooks.models.objective_stats import FINE, HOURLY, begins_at
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import span_text

__all__ = [
    "BURN_WINDOWS",
    "MONTH",
    "Counts",
    "Objective",
    "objective_problem",
    "objective_problems",
    "objective_text",
    "objectives",
    "short_text",
]

MONTH = "30d"
# What is counted, by name: each long window has a short one that ends an alert soon after its cause.
WINDOWS = {
    "5m": timedelta(minutes=5),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    MONTH: timedelta(days=30),
}
BURN_WINDOWS = tuple(window for window in WINDOWS if window != MONTH)
# At this rate a month's budget lasts two days (1 h) or five days (6 h). Source: the workbook's table 5-8.
FAST_BURN, SLOW_BURN = 14.4, 6.0
# Of little traffic, a few misses are a high rate.
FEWEST_MISSED = 5
# Of what is overdue, for each window.
MOST_COUNTED = 10_000
# In one list of problems.
MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """How many deliveries of a window met the objective and missed it."""

    met: int = 0
    missed: int = 0

    @property
    def total(self) -> int:
        return self.met + self.missed

    def attainment(self) -> float | None:
        """The share that met it, from 0 to 1; None if no delivery was decided."""
        return self.met / self.total if self.total else None

    def burn_rate(self, share: float) -> float:
        """How many times faster than allowed the budget is used, if `share` percent have to meet the objective.

        1: all of it in 30 days; 0: nothing was missed; infinite: something was, and there is no budget (100 %).
        """
        return _divided(self.missed, self.total * (100 - share) / 100)

    def budget_left(self, share: float) -> float:
        """The part of the budget that is not used, from 0 to 1, if these are the counts of the whole period."""
        return max(0.0, 1.0 - self.burn_rate(share))


def _divided(missed: int, allowed: float) -> float:
    if not missed:
        return 0.0
    # The allowed number is no whole one: 0.1 % of 1000 must not come to 0.99999.
    return round(missed / allowed, 9) if allowed > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Objective:
    """A subscription's objective, and how it does. `counts` are by the names of `WINDOWS`."""

    seconds: int
    share: float
    counts: Mapping[str, Counts]

    def attainment(self, window: str = MONTH) -> float | None:
        """The share of the window's deliveries that arrived in time, from 0 to 1; None if there was none."""
        return self.counts[window].attainment()

    def burn_rate(self, window: str) -> float:
        """See `Counts.burn_rate`."""
        return self.counts[window].burn_rate(self.share)

    @property
    def budget_left(self) -> float:
        """The part of the error budget of the last 30 days that is left, from 0 to 1."""
        return self.counts[MONTH].budget_left(self.share)

    @property
    def is_missed(self) -> bool:
        """Whether fewer deliveries of the last 30 days arrived in time than it asks for."""
        attained = self.attainment()
        return attained is not None and round(attained * 100, 9) < self.share

    def fast_burn(self) -> float | None:
        """The burn rate of the last hour or six hours, if somebody should look at it; as the alert rules say."""
        for long, short, threshold in (("1h", "5m", FAST_BURN), ("6h", "30m", SLOW_BURN)):
            burns = min(self.burn_rate(long), self.burn_rate(short)) > threshold
            if burns and self.counts[long].missed >= FEWEST_MISSED:
                return self.burn_rate(long)
        return None


def objectives(subscriptions: Iterable[Subscription], *, now: datetime) -> dict[int, Objective]:
    """The objectives of those that have one, by primary key. Four queries, or none if none has one.

    What is overdue is counted up to MOST_COUNTED in each window.
    """
    chosen = {one.pk: one for one in subscriptions if one.objective_seconds}
    if not chosen:
        return {}
    counts = _decided(chosen, now=now)
    for (key, window), overdue in _overdue(chosen, now=now).items():
        met, missed = counts[key][window]
        counts[key][window] = (met, missed + min(overdue, MOST_COUNTED))
    return {
        key: Objective(
            one.objective_seconds or 0,
            one.objective_share,
            {window: Counts(*numbers) for window, numbers in counts[key].items()},
        )
        for key, one in chosen.items()
    }


def _decided(keys: Collection[int], *, now: datetime) -> dict[int, dict[str, tuple[int, int]]]:
    counts = {key: dict.fromkeys(WINDOWS, (0, 0)) for key in keys}
    rows = ObjectiveStats.objects.filter(subscription__in=list(keys)).order_by()
    for minutes, windows in ((FINE, BURN_WINDOWS), (HOURLY, (MONTH,))):
        # A span that began before the window counts as a whole: a window is up to a span longer.
        starts = {window: begins_at(now - WINDOWS[window], minutes) for window in windows}
        sums = {
            f"{column}_{window}": Sum(column, filter=Q(begins_at__gte=start), default=0)
            for window, start in starts.items()
            for column in ("met", "missed")
        }
        found = rows.filter(minutes=minutes, begins_at__gte=min(starts.values()))
        names = [f"{column}_{window}" for window in windows for column in ("met", "missed")]
        for key, *numbers in found.values("subscription").annotate(**sums).values_list("subscription", *names):
            for window, met, missed in zip(windows, numbers[::2], numbers[1::2], strict=True):
                counts[key][window] = (met, missed)
    return counts


def _overdue(keys: Collection[int], *, now: datetime) -> dict[tuple[int, str], int]:
    """How many deliveries of each still wait whose time ended in each window; MOST_COUNTED + 1 if there are more."""
    waiting = Delivery.objects.filter(
        due_by__lte=now, due_by__gt=now - WINDOWS[MONTH], state__in=[Delivery.State.PENDING, Delivery.State.SENDING]
    )
    late = Subscription.objects.filter(Exists(waiting.filter(subscription=OuterRef("pk"))), pk__in=list(keys))
    rows: dict[tuple[int, str], Any] = {
        (key, window): waiting.filter(subscription=key, due_by__gt=now - length).order_by("-due_by")
        for key in late.order_by().values_list("pk", flat=True)
        for window, length in WINDOWS.items()
    }
    return counts_up_to(MOST_COUNTED, rows) if rows else {}


def objective_text(objective: Objective) -> str:
    """Sentences about it: what it asks for, how it does, what is left of the budget, and how fast that is used."""
    aim = _("%(share)s %% should arrive within %(span)s.") % {
        "share": _number(objective.share),
        "span": span_text(timedelta(seconds=objective.seconds)),
    }
    month = objective.counts[MONTH]
    attained = objective.attainment()
    if attained is None:
        return f"{aim} " + _("None was due in the last 30 days.")
    parts = [
        aim,
        _("In the last 30 days %(percent)s %% did (%(met)s of %(total)s).")
        % {"percent": _percent(attained), "met": count_text(month.met), "total": count_text(month.total)},
        _budget_text(objective),
    ]
    hour, hours = objective.burn_rate("1h"), objective.burn_rate("6h")
    last_hour = objective.attainment("1h")
    if last_hour is not None:
        parts.append(
            _("In the last hour %(percent)s %% did: %(burn)s.")
            % {"percent": _percent(last_hour), "burn": _burn_text(hour)}
        )
    if objective.counts["6h"].missed:
        parts.append(_("In the last 6 hours: %(burn)s.") % {"burn": _burn_text(hours)})
    return " ".join(parts)


def short_text(objective: Objective) -> str:
    """The same in a few words, for a column that is called so: `missed: 98.2 %`, `99.7 %`."""
    attained = objective.attainment()
    if attained is None:
        return _("none was due")
    percent = _("%(percent)s %%") % {"percent": _percent(attained)}
    burn = objective.fast_burn()
    if objective.is_missed:
        return _("missed: %(percent)s") % {"percent": percent}
    return f"{percent}, {_burn_text(burn)}" if burn is not None else percent


def objective_problem(objective: Objective) -> str:
    """That it is missed, or that its budget is used too fast; otherwise ""."""
    burn = objective.fast_burn()
    parts = []
    if objective.is_missed:
        parts.append(
            _(
                "It misses its objective: %(percent)s %% of the deliveries of 30 days arrived within %(span)s,"
                " not %(share)s %%."
            )
            % {
                "percent": _percent(objective.attainment() or 0.0),
                "span": span_text(timedelta(seconds=objective.seconds)),
                "share": _number(objective.share),
            }
        )
    if burn is not None:
        parts.append(_("Now: %(burn)s.") % {"burn": _burn_text(burn)})
    return " ".join(parts)


def objective_problems(*, now: datetime, stores: Collection[str] | None = None, alarms: bool = True) -> list[str]:
    """The problems of subscriptions that miss their objective or will soon, MOST_SHOWN at most; the worst first.

    `stores`: only of subscriptions to these stores; None for all. `alarms`: of operational ones too.
    """
    seen = Subscription.objects.of_stores(stores, operational=alarms)
    chosen = {one.pk: one for one in seen.filter(objective_seconds__isnull=False)}
    found = {key: one for key, one in objectives(chosen.values(), now=now).items() if objective_problem(one)}
    worst = sorted(found, key=lambda key: (found[key].budget_left, -found[key].burn_rate("6h"), key))
    return [
        f"{chosen[key].name} ({chosen[key].public_id}): {objective_problem(found[key])}" for key in worst[:MOST_SHOWN]
    ]


def _budget_text(objective: Objective) -> str:
    if objective.share == 100:
        return _("It leaves no error budget.")
    if not objective.budget_left:
        return _("Its error budget is used up.")
    return _("%(percent)s %% of its error budget is left.") % {"percent": _percent(objective.budget_left)}


def _burn_text(burn: float) -> str:
    if math.isinf(burn):
        return _("it has no error budget to use")
    if burn > 1:
        return _("it uses its error budget %(times)s times too fast") % {"times": _number(round(burn, 1))}
    return _("its error budget lasts")


def _percent(share: float) -> str:
    """Of a share from 0 to 1: never 100 if something was missed, never 0 if something arrived."""
    percent = round(share * 100, 2)
    if share < 1:
        percent = min(percent, 99.99)
    return _number(max(percent, 0.01) if share > 0 else percent)


def _number(number: float) -> str:
    """Without zeros at the end."""
    return number_format(f"{number:.2f}".rstrip("0").rstrip("."))
