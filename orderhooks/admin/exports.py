"""The delivery log as CSV, row by row: as long as the log is, never more of it in memory than a page."""

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone

from orderhooks.models.deliveries import DeliveryQuerySet

ROWS_AT_ONCE = 2000
# A column's name in the file, and where it comes from.
COLUMNS = {
    "delivery": "public_id",
    "state": "state",
    "order_number": "event__order_number",
    "source": "event__source",
    "store": "event__store",
    "topic": "event__topic",
    "event": "event__public_id",
    "subscription": "subscription__public_id",
    "subscription_name": "subscription__name",
    "url": "subscription__url",
    "attempts_made": "attempts_made",
    "trigger": "trigger",
    "requested_by": "requested_by",
    "last_status_code": "last_status_code",
    "last_error": "last_error",
    "last_outcome": "last_detail",
    "next_attempt_at": "next_attempt_at",
    "created_at": "created_at",
    "finished_at": "finished_at",
}
# With these, the wide forms too, a spreadsheet takes a text for a formula.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


class _Echo:
    """A file for the csv module that gives each row back."""

    def write(self, line: str) -> str:
        return line


def export(deliveries: DeliveryQuerySet, *, with_url: bool = False) -> StreamingHttpResponse:
    """The response that streams them, newest first. Times are in the user's zone.

    `with_url`: also the URLs of subscriptions, which may hold a key.
    """
    # Read now: what a middleware set for the user is gone when the rows are written.
    zone = timezone.get_current_timezone()
    columns = {name: path for name, path in COLUMNS.items() if with_url or name != "url"}
    response = StreamingHttpResponse(
        _lines(deliveries, zone=zone, columns=columns), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="deliveries.csv"'
    return response


def _lines(deliveries: DeliveryQuerySet, *, zone: tzinfo, columns: Mapping[str, str]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    # Without it a spreadsheet takes the file for an old code page, and breaks every letter beyond ASCII.
    yield "\ufeff" + str(writer.writerow(columns))
    for row in _rows(deliveries.order_by("-pk").values_list("pk", *columns.values())):
        yield writer.writerow([_cell(value, zone=zone) for value in row[1:]])


def _rows(rows: Any) -> Iterator[tuple[Any, ...]]:
    # Page by page, not by a cursor: some databases' clients read all that one has to give, and a slow download keeps
    # none open.
    page = list(rows[:ROWS_AT_ONCE])
    while page:
        yield from page
        page = list(rows.filter(pk__lt=page[-1][0])[:ROWS_AT_ONCE]) if len(page) == ROWS_AT_ONCE else []


def _cell(value: Any, *, zone: tzinfo) -> Any:
    if isinstance(value, datetime):
        return (timezone.localtime(value, zone) if timezone.is_aware(value) else value).isoformat(timespec="seconds")
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value
