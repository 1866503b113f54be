"""The marks that changes leave which could not be captured: counted by kind, written once committed, never raising."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import retention
from orderhooks.models import CaptureFailure
from tests.factories import cutoffs_at

pytestmark = pytest.mark.django_db(transaction=True)


def record(order_pk: str = "1", error: str = "KeyError: 'total_currency'", source: str = "shop") -> None:
    CaptureFailure.objects.record(source=source, order_pk=order_pk, error=error)


def test_failures_of_one_kind_are_counted_in_one_row_with_the_last_order() -> None:
    record("1", "ValueError: order 1 is odd")
    record("2", "ValueError: order 2 is odd")
    record("3", "TypeError: no")
    last, first = CaptureFailure.objects.recent()
    assert (first.source, first.order_pk, first.error, first.count) == ("shop", "2", "ValueError: order 2 is odd", 2)
    assert first.first_at < first.last_at <= last.last_at
    assert (last.order_pk, last.count) == ("3", 1)


def test_events_of_two_sources_are_distinguished() -> None:
    record()
    record(source="other")
    assert {row.source: row.count for row in CaptureFailure.objects.recent()} == {"shop": 1, "other": 1}


def test_recent_can_begin_at_a_time() -> None:
    record()
    assert CaptureFailure.objects.recent(since=timezone.now() - timedelta(hours=1)).count() == 1
    assert CaptureFailure.objects.recent(since=timezone.now() + timedelta(hours=1)).count() == 0


def test_it_is_written_once_the_transaction_has_committed() -> None:
    with transaction.atomic():
        record()
        assert not CaptureFailure.objects.exists()
    assert CaptureFailure.objects.get().count == 1


def test_a_change_that_was_rolled_back_was_not_lost() -> None:
    with transaction.atomic():
        record()
        transaction.set_rollback(True)
    assert not CaptureFailure.objects.exists()


@pytest.mark.parametrize("text", ["\x00", "\ud800", "x" * 100_000])
def test_any_text_can_be_stored(text: str) -> None:
    record(text, text, text)
    assert CaptureFailure.objects.get().count == 1


def test_a_missing_table_is_no_trouble() -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(CaptureFailure)
    try:
        with transaction.atomic():
            record()
        record()
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(CaptureFailure)
    assert not CaptureFailure.objects.exists()


def test_old_marks_are_pruned() -> None:
    record()
    assert retention.prune(before=cutoffs_at(timezone.now() - timedelta(days=1))) == 0
    assert retention.prune(before=cutoffs_at(timezone.now() + timedelta(days=1))) == 1
