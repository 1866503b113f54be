"""The receiver's side: only what was signed is let in, nothing is acted on twice, and nothing that failed is lost."""

import json
import logging
import threading
from datetime import UTC, datetime

import pytest
from django.core.cache import caches
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django.views.debug import ExceptionReporter
from standardwebhooks import Webhook

from orderhooks import payloads, signing
from orderhooks.models import Event, Receipt
from orderhooks.receiver import (
    CacheDeduplicator,
    DatabaseDeduplicator,
    InvalidWebhookError,
    ReceivedEvent,
    deduplication,
    verify,
    webhook,
)

SECRET = signing.generate_secret()
OTHER = signing.generate_secret()
NOW = 1_764_000_000
ID = "evt_01KAV0000000000000000000AA"
CONTENT = {
    "id": ID,
    "type": "order.paid",
    "timestamp": "2026-11-23T10:00:00.000000Z",
    "api_version": "2026-11-01",
    "sequence": 812,
    "source": "orderhooks",
    "store": "berlin",
    "data": {"order": {"number": "1001"}, "changes": {"payment_status": ["pending", "paid"]}},
}
BODY = json.dumps(CONTENT, separators=(",", ":")).encode()


def signed(body=BODY, *, at=NOW, secrets=(SECRET,), webhook_id=ID, **more):
    """The headers that a sender would make."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signing.signature_header(secrets, webhook_id, at, body),
        **more,
    }


def request_of(body=BODY, *, method="POST", **options):
    options = {"at": int(datetime.now(UTC).timestamp()), **options}
    headers = signed(body, **options)
    return RequestFactory().generic(method, "/hooks/", body, content_type="application/json", headers=headers)


def refusal(body=BODY, headers=None, secrets=SECRET, **options) -> str:
    with pytest.raises(InvalidWebhookError) as refused:
        verify(body, signed() if headers is None else headers, secrets, **{"now": NOW, **options})
    return str(refused.value)


# verify


def test_a_signed_event_is_understood():
    event = verify(BODY, signed(**{"webhook-attempt": "3"}), SECRET, now=NOW)

    assert event == ReceivedEvent(
        id=ID,
        topic="order.paid",
        occurred_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
        sequence=812,
        source="orderhooks",
        store="berlin",
        api_version="2026-11-01",
        data=CONTENT["data"],
        attempt=3,
    )


def test_the_body_that_the_sender_builds_is_understood():
    row = Event(
        topic="order.paid",
        sequence=7,
        store="",
        payload={"order": {"note": "Grüße 🍵"}, "changes": {}},
        occurred_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
    )
    body = payloads.body(row)

    event = verify(body, signed(body, webhook_id=row.public_id), SECRET, now=NOW)

    assert (event.id, event.sequence, event.occurred_at) == (row.public_id, 7, row.occurred_at)
    assert event.data == row.payload


def test_what_the_standard_library_signs_is_accepted():
    signature = Webhook(SECRET).sign(ID, datetime.fromtimestamp(NOW, UTC), BODY.decode())

    assert verify(BODY, {**signed(), "webhook-signature": signature}, SECRET, now=NOW).id == ID


@pytest.mark.parametrize("change", [str.upper, str.title])
def test_headers_are_found_in_any_case(change):
    headers = {change(name): value for name, value in signed().items()}

    assert verify(BODY, headers, SECRET, now=NOW).id == ID


def test_any_of_several_secrets_will_do():
    assert verify(BODY, signed(), (secret for secret in (OTHER, SECRET)), now=NOW)
    assert verify(BODY, signed(secrets=[OTHER, SECRET]), SECRET, now=NOW)


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"1001", b"1002"), b"", b"\xff\xfe", b"null"])
def test_a_body_that_is_not_the_signed_one_is_refused_and_the_cause_named(body):
    assert "raw" in refusal(body)


def test_a_wrong_secret_is_refused_and_no_secret_told():
    text = refusal(secrets=[OTHER])

    assert "Compare the secret" in text
    assert OTHER not in text
    assert SECRET not in text


@pytest.mark.parametrize("change", [{"source": None}, {"source": 3}, {"store": None}])
def test_a_body_whose_texts_are_no_texts_is_refused(change):
    body = json.dumps({**CONTENT, **change}).encode()

    assert "not an event of orderhooks" in refusal(body, signed(body))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name):
    without = {key: value for key, value in signed().items() if key != name}

    assert f"header {name} is missing" in refusal(headers=without)
    assert f"header {name} is missing" in refusal(headers={**without, name: ""})


@pytest.mark.parametrize(
    ("seconds_off", "why"), [(-301, "old. Check this machine"), (301, "future. Check the clocks"), (-(10**9), "old")]
)
def test_a_timestamp_out_of_bounds_is_refused(seconds_off, why):
    assert why in refusal(headers=signed(at=NOW + seconds_off))


@pytest.mark.parametrize("seconds_off", [-300, 0, 300])
def test_a_timestamp_within_bounds_is_accepted(seconds_off):
    assert verify(BODY, signed(at=NOW + seconds_off), SECRET, now=NOW)


def test_the_bounds_can_be_set():
    assert verify(BODY, signed(at=NOW - 900), SECRET, now=NOW, tolerance_seconds=900)
    assert "10 s old" in refusal(headers=signed(at=NOW - 11), tolerance_seconds=10)


@pytest.mark.parametrize(
    "text", ["soon", "-1764000000", "+1764000000", " 1764000000", "1764000000.0", "1_764_000_000", "1e9", "9" * 5000,
             "9" * 13, "١٧٦٤٠٠٠٠٠٠", "²", "nan", "inf", "0x10", "1764000000\n"],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused(text):
    assert "webhook-timestamp" in refusal(headers={**signed(), "webhook-timestamp": text})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("text", ["\ud800", "é", "\x00", "v1,\udcff", "x" * 100_000])
def test_nothing_in_a_header_makes_it_crash(name, text):
    assert refusal(headers={**signed(), name: text})


@pytest.mark.parametrize(
    "content",
    [
        [],
        "text",
        {},
        {**CONTENT, "sequence": "812"},
        {**CONTENT, "sequence": True},
        {**CONTENT, "data": []},
        {**CONTENT, "type": None},
        {**CONTENT, "timestamp": "2026-11-23T10:00:00"},
        {**CONTENT, "timestamp": "yesterday"},
        {**CONTENT, "timestamp": 1764000000},
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(content):
    body = json.dumps(content).encode()

    assert "not an event of orderhooks" in refusal(body, signed(body))


@pytest.mark.parametrize("attempt", ["", "one", "-1", "²", "9" * 5000])
def test_the_unsigned_attempt_can_do_no_harm(attempt):
    assert verify(BODY, signed(**{"webhook-attempt": attempt}), SECRET, now=NOW).attempt == 1


@pytest.mark.parametrize("secrets", ["", [], None, "whsec_short", [SECRET, "secret"]])
def test_a_secret_that_can_be_none_is_the_receivers_own_fault(secrets):
    with pytest.raises(signing.InvalidSecretError) as refused:
        verify(BODY, signed(), secrets, now=NOW)

    assert "whsec_short" not in str(refused.value)


def test_a_body_that_was_decoded_is_a_programmers_mistake():
    with pytest.raises(TypeError, match="raw body as bytes"):
        verify(BODY.decode(), signed(), SECRET, now=NOW)


# webhook


@webhook(SECRET)
def numbered(request: HttpRequest, event: ReceivedEvent, number: int) -> HttpResponse:
    return HttpResponse(f"{number} {event.topic}")


urlpatterns = [path("hooks/<int:number>/", numbered)]


@pytest.mark.urls(__name__)
def test_a_view_needs_no_csrf_token_and_gets_its_own_arguments():
    headers = signed(at=int(datetime.now(UTC).timestamp()))

    response = Client(enforce_csrf_checks=True).post(
        "/hooks/5/", BODY, content_type="application/json", headers=headers
    )

    assert (response.status_code, response.content) == (200, b"5 order.paid")


class Handler:
    """A view that counts its calls and answers as told."""

    __name__ = "handler"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.events = []

    def __call__(self, request, event):
        self.events.append(event)
        response = self.answers.pop(0) if self.answers else None
        if isinstance(response, Exception):
            raise response
        return response


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_let_in(method):
    handler = Handler()

    response = webhook(SECRET)(handler)(request_of(method=method))

    assert (response.status_code, response["allow"], handler.events) == (405, "POST", [])


def test_a_forged_request_gets_401_a_reason_and_a_line_in_the_log(caplog):
    handler = Handler()

    with caplog.at_level(logging.WARNING, logger="orderhooks.receiver"):
        response = webhook(SECRET)(handler)(request_of(secrets=[OTHER]))

    assert response.status_code == 401
    assert "No signature matches" in json.loads(response.content)["error"]
    assert "/hooks/" in caplog.text
    assert "No signature matches" in caplog.text
    assert SECRET not in caplog.text
    assert handler.events == []


def test_a_view_that_returns_nothing_answers_204():
    assert webhook(SECRET)(Handler())(request_of()).status_code == 204


def test_a_callable_is_asked_for_the_secret_at_each_request():
    current = [OTHER]
    endpoint = webhook(lambda: current)(Handler())

    assert endpoint(request_of()).status_code == 401
    current.append(SECRET)
    assert endpoint(request_of()).status_code == 204


@pytest.mark.parametrize("secret", ["", [], lambda: None, "whsec_short"])
def test_a_receiver_without_a_secret_lets_nothing_in_and_says_so_in_its_log(secret, caplog):
    handler = Handler()

    response = webhook(secret)(handler)(request_of())

    assert response.status_code == 500
    assert "cannot verify webhooks at /hooks/" in caplog.text
    assert handler.events == []


def test_a_view_that_returns_something_else_raises():
    with pytest.raises(TypeError, match="HttpResponse or None, not dict"):
        webhook(SECRET)(Handler({"ok": True}))(request_of())


def test_the_error_report_of_a_failing_view_holds_no_secret():
    request = request_of()
    try:
        webhook([SECRET], deduplicate=None)(Handler(RuntimeError("no")))(request)
    except RuntimeError as error:
        report = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "RuntimeError" in report
    assert SECRET.removeprefix("whsec_")[:20] not in report


# deduplication


@pytest.fixture(params=["cache", "database"])
def deduplicator(request, db, settings):
    """Each of the two guards, as a function of its name."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "receipts"}}
    yield CacheDeduplicator if request.param == "cache" else DatabaseDeduplicator
    caches["default"].clear()


def test_a_webhook_that_was_acted_on_is_answered_200_and_not_acted_on_again(deduplicator):
    handler = Handler()
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    statuses = [endpoint(request_of()).status_code for _ in range(3)]

    assert statuses == [204, 200, 200]
    assert len(handler.events) == 1


def test_another_webhook_is_no_duplicate(deduplicator):
    handler = Handler()
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    for webhook_id in ("evt_1", "evt_2"):
        assert endpoint(request_of(webhook_id=webhook_id)).status_code == 204

    assert [event.id for event in handler.events] == ["evt_1", "evt_2"]


def test_receivers_of_different_names_share_a_store(deduplicator):
    for name in ("stock", "mail"):
        assert webhook(SECRET, deduplicate=deduplicator(name))(Handler())(request_of()).status_code == 204


@pytest.mark.parametrize("status", [199, 302, 400, 404, 500, 503])
def test_a_webhook_that_was_answered_outside_2xx_is_acted_on_again(deduplicator, status):
    handler = Handler(HttpResponse(status=status))
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    assert [endpoint(request_of()).status_code for _ in range(3)] == [status, 204, 200]
    assert len(handler.events) == 2


def test_a_webhook_whose_view_raised_is_acted_on_again(deduplicator):
    handler = Handler(RuntimeError("no"))
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    with pytest.raises(RuntimeError, match="no"):
        endpoint(request_of())

    assert [endpoint(request_of()).status_code for _ in range(2)] == [204, 200]
    assert len(handler.events) == 2


def test_a_forged_request_uses_up_no_id(deduplicator):
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(Handler())

    assert endpoint(request_of(secrets=[OTHER])).status_code == 401
    assert endpoint(request_of()).status_code == 204


def test_the_longest_id_fits(deduplicator):
    endpoint = webhook(SECRET, deduplicate=deduplicator("x" * 100))(Handler())

    statuses = [endpoint(request_of(webhook_id="i" * length)).status_code for length in (200, 200, 201)]

    assert statuses == [204, 200, 401]


@pytest.mark.django_db
@pytest.mark.parametrize("response", [HttpResponse(status=503), RuntimeError("no")])
def test_what_a_failed_view_wrote_is_rolled_back_with_the_receipt(response):
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request, event):
        Receipt.objects.create(receiver="written by the view", webhook_id=event.id)
        if isinstance(response, Exception):
            raise response
        return response

    if isinstance(response, Exception):
        with pytest.raises(RuntimeError):
            view(request_of())
    else:
        assert view(request_of()).status_code == 503

    assert Receipt.objects.count() == 0


@pytest.mark.django_db
def test_what_a_view_wrote_is_committed_with_the_receipt():
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request, event):
        Receipt.objects.create(receiver="written by the view", webhook_id=event.id)

    assert view(request_of()).status_code == 204
    assert sorted(Receipt.objects.values_list("receiver", flat=True)) == ["shop", "written by the view"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("savepoint", [True, False])
def test_a_view_that_swallows_a_database_error_is_never_acknowledged_with_nothing_saved(savepoint):
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request, event):
        try:
            with transaction.atomic(savepoint=savepoint):
                Receipt.objects.create(receiver="shop", webhook_id=event.id)
        except IntegrityError:
            pass

    if savepoint:
        assert view(request_of()).status_code == 204
    else:
        with pytest.raises((transaction.TransactionManagementError, DatabaseError)):
            view(request_of())
    assert Receipt.objects.count() == savepoint


@pytest.mark.django_db
def test_an_integrity_error_of_the_view_is_not_taken_for_a_duplicate():
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request, event):
        Receipt.objects.create(receiver="shop", webhook_id=event.id)

    with pytest.raises(IntegrityError):
        view(request_of())


def in_threads(count, work):
    results = []

    def run():
        try:
            results.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_the_same_time_one_is_acted_on(deduplicator):
    if deduplicator is DatabaseDeduplicator and connection.vendor == "sqlite":
        pytest.skip("SQLite in memory turns a second writer away at once")
    handler = Handler()
    together = threading.Barrier(6, timeout=20)
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    def post():
        together.wait()
        return endpoint(request_of()).status_code

    statuses = in_threads(6, post)

    assert len(handler.events) == 1
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 200, 409}


@pytest.mark.django_db(transaction=True)
def test_a_twin_of_one_that_is_being_worked_on_is_told_to_come_again(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "twins"}}
    twins = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("twins"))
    def view(request, event):
        twins.append(in_threads(1, lambda: view(request_of()).status_code))

    assert view(request_of()).status_code == 204
    assert twins == [[409]]
    assert view(request_of()).status_code == 200
    caches["default"].clear()


def test_a_process_that_died_at_work_blocks_only_for_a_while(settings, monkeypatch):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "died"}}
    # A mark that is stale at once stands for one whose time has run out.
    monkeypatch.setattr(deduplication, "PROCESSING_SECONDS", 0)
    inner = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("died"))
    def view(request, event):
        if not inner:
            inner.append(None)
            inner[0] = view(request_of()).status_code

    assert view(request_of()).status_code == 204
    assert inner == [204]
    caches["default"].clear()


def test_a_view_that_outlived_its_mark_takes_no_others_mark_away(settings, monkeypatch):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "outlived"}}
    monkeypatch.setattr(deduplication, "PROCESSING_SECONDS", 0)
    calls = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("outlived"))
    def view(request, event):
        calls.append(event)
        if len(calls) == 1:
            assert view(request_of()).status_code == 204
            return HttpResponse(status=503)
        return None

    assert view(request_of()).status_code == 503
    assert view(request_of()).status_code == 200
    assert len(calls) == 2
    caches["default"].clear()


@pytest.mark.django_db
def test_a_receiver_that_remembers_in_a_cache_touches_no_table(settings, django_assert_num_queries):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "queries"}}
    endpoint = webhook(SECRET, deduplicate=CacheDeduplicator("queries"))(Handler())
    with django_assert_num_queries(0):
        endpoint(request_of())
    caches["default"].clear()
