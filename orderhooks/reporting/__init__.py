"""Reporting: what people read. The admin, the API and the commands use it, so that one fact has one format."""

from orderhooks.reporting.alarms import alarm_problems
from orderhooks.reporting.backlog import MOST_WAITING, Backlog, backlog_text, current_backlog
from orderhooks.reporting.capture_failures import LOSSES_SHOWN_FOR, losses, withheld_losses
from orderhooks.reporting.capture_levels import CaptureLevel, capture_levels
from orderhooks.reporting.certificates import certificate_problem, certificate_problems, certificate_text, has_expired
from orderhooks.reporting.objectives import objective_problems
from orderhooks.reporting.order_report import (
    EventReport,
    Reason,
    SubscriptionOutcome,
    event_reports,
    explain,
    find_order,
    find_order_of_stores,
    not_wanted,
    order_events,
    order_has_no_events_text,
    order_waits_text,
    order_without_events_text,
    subscription_outcome_text,
    waiting_change_text,
)
from orderhooks.reporting.reconciliation import last_reconciliation, reconciliation_text
from orderhooks.reporting.unpublished import unpublished_problems
from orderhooks.reporting.unsent import unsent_problems
from orderhooks.reporting.version_moves import VersionMove, ended_versions, unregistered_versions, version_move
from orderhooks.reporting.worker_status import Worker, start_text, worker_problems

__all__ = [
    "LOSSES_SHOWN_FOR",
    "MOST_WAITING",
    "Backlog",
    "CaptureLevel",
    "EventReport",
    "Reason",
    "SubscriptionOutcome",
    "VersionMove",
    "Worker",
    "alarm_problems",
    "backlog_text",
    "capture_levels",
    "certificate_problem",
    "certificate_problems",
    "certificate_text",
    "current_backlog",
    "ended_versions",
    "event_reports",
    "explain",
    "find_order",
    "find_order_of_stores",
    "has_expired",
    "last_reconciliation",
    "losses",
    "not_wanted",
    "objective_problems",
    "order_events",
    "order_has_no_events_text",
    "order_waits_text",
    "order_without_events_text",
    "reconciliation_text",
    "start_text",
    "subscription_outcome_text",
    "unpublished_problems",
    "unregistered_versions",
    "unsent_problems",
    "version_move",
    "waiting_change_text",
    "withheld_losses",
    "worker_problems",
]
