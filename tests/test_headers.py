"""A subscription's own headers: checked when saved and when sent, sealed in the table, never shown."""

import json

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import sending
from orderhooks.encryption import Sealed
from orderhooks.models import Attempt, Subscription
from orderhooks.transport import InvalidHeaderError, check_own_headers
from tests.factories import make_delivery, make_subscription
from tests.receivers import Answer, RecordingReceiver

TOKEN = "Bearer tok_s3cr3t"
REFUSED = [
    ({"X Key": "v"}, "not a valid header name"),
    ({"": "v"}, "not a valid header name"),
    ({"X-Key\r\nHost": "v"}, "not a valid header name"),
    ({"X-Ключ": "v"}, "not a valid header name"),
    ({"X:Key": "v"}, "not a valid header name"),
    ({"X" * 101: "v"}, "not a valid header name"),
    ({"X-Key": "v\r\nHost: evil"}, "line break"),
    ({"X-Key": "v\n"}, "line break"),
    ({"X-Key": "a\x00b"}, "line break"),
    ({"X-Key": "a\x7fb"}, "line break"),
    ({"X-Key": "ключ"}, "Latin-1"),
    ({"X-Key": "\ud800"}, "Latin-1"),
    ({"X-Key": ""}, "empty"),
    ({"X-Key": " v"}, "spaces"),
    ({"X-Key": "v" * 4097}, "longer than"),
    ({"X-Key": "a", "x-key": "b"}, "twice"),
    ({f"X-{n}": "v" for n in range(21)}, "at most 20"),
    *[
        ({name: "v"}, "set by orderhooks")
        for name in (
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "Expect",
            "Content-Type",
            "webhook-id",
            "Webhook-Anything",
            "Stripe-Signature",
            "X-Hub-Signature-256",
        )
    ],
]


@pytest.mark.parametrize(("headers", "why"), REFUSED)
def test_a_header_that_would_break_a_request_is_refused(headers: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidHeaderError, match=why):
        check_own_headers(headers)


@pytest.mark.parametrize("value", ["v", TOKEN, "a\tb", "é ÿ", "v" * 4096, "\xa0x\xa0".strip()])
def test_what_a_header_may_hold_is_accepted(value: str) -> None:
    check_own_headers({"X-Key": value, "authorization": value, "x-!#$%&'*+.^_`|~0": value})


@pytest.mark.django_db
class TestStored:
    def test_saving_refuses_what_can_not_be_sent(self) -> None:
        subscription = make_subscription()
        subscription.headers = {"X-Key": "v\r\nHost: evil"}
        with pytest.raises(ValidationError, match="line break"), transaction.atomic():
            subscription.save()
        with pytest.raises(ValidationError, match="line break"):
            make_subscription(headers={"X-Key": "v\r\nHost: evil"})
        with pytest.raises(ValidationError, match="text as its value"):
            make_subscription(headers={"X-Key": 7})
        assert Subscription.objects.get().headers == {}

    def test_the_table_holds_names_in_the_clear_and_values_sealed(self) -> None:
        subscription = make_subscription(headers={"Authorization": TOKEN})
        with connection.cursor() as cursor:
            cursor.execute("SELECT headers FROM orderhooks_subscription")
            [stored] = cursor.fetchone()
        assert "Authorization" in str(stored)
        assert "s3cr3t" not in str(stored)
        read = Subscription.objects.get()
        assert read.headers == subscription.headers
        assert read.own_headers() == {"Authorization": TOKEN}

    def test_an_instance_that_was_saved_shows_no_value_any_more(self) -> None:
        subscription = make_subscription()
        subscription.headers = {"Authorization": TOKEN}
        subscription.save()
        assert "s3cr3t" not in repr(subscription.headers) + str(subscription.__dict__)
        assert Subscription.objects.get().own_headers() == {"Authorization": TOKEN}

    def test_an_update_by_query_seals_too(self) -> None:
        make_subscription()
        Subscription.objects.update(headers={"X-Key": TOKEN})
        assert isinstance(Subscription.objects.get().headers["X-Key"], Sealed)
        assert Subscription.objects.get().own_headers() == {"X-Key": TOKEN}

    def test_a_fixture_carries_sealed_values_there_and_back(self) -> None:
        make_subscription(headers={"Authorization": TOKEN})
        text = serializers.serialize("json", Subscription.objects.all())
        assert "s3cr3t" not in text
        Subscription.objects.all().delete()
        for one in serializers.deserialize("json", text):
            one.save()
        assert Subscription.objects.get().own_headers() == {"Authorization": TOKEN}


@pytest.mark.django_db(transaction=True)
class TestSent:
    def send(self) -> Attempt:
        with sending.Sender(threads=1) as sender:
            sender.claim(now=timezone.now())
        return Attempt.objects.get()

    def test_they_go_out_and_are_redacted_in_the_log_also_when_echoed(self, receiver: RecordingReceiver) -> None:
        receiver.answer = lambda count: Answer(
            401, json.dumps({"got": TOKEN, "signature": receiver.received[-1].headers["webhook-signature"]}).encode()
        )
        make_delivery(subscription=make_subscription(url=receiver.url, headers={"Authorization": TOKEN, "X-Team": "é"}))
        attempt = self.send()
        [got] = receiver.received
        assert (got.headers["authorization"], got.headers["x-team"]) == (TOKEN, "é")
        for name in ("Authorization", "X-Team", "webhook-signature"):
            assert attempt.request_headers[name] == "(redacted)"
        assert attempt.request_headers["webhook-id"].startswith("evt_")
        assert attempt.response_body == '{"got": "(redacted)", "signature": "(redacted)"}'

    def test_what_came_into_the_table_past_the_checks_is_not_sent(self, receiver: RecordingReceiver) -> None:
        subscription = make_subscription(url=receiver.url)
        sealed = {"Host": {"sealed": Sealed.of("evil.example").token}}
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orderhooks_subscription SET headers = %s", [json.dumps(sealed)])
        make_delivery(subscription=subscription)
        attempt = self.send()
        assert (attempt.error, receiver.received) == ("internal", [])
        assert "The header Host is set by orderhooks itself" in attempt.detail

    def test_without_the_key_nothing_is_sent_and_the_log_says_which_is_missing(
        self, receiver: RecordingReceiver, settings
    ) -> None:
        make_delivery(subscription=make_subscription(url=receiver.url, headers={"Authorization": TOKEN}))
        settings.SECRET_KEY = "another key altogether"
        attempt = self.send()
        assert (attempt.error, attempt.status_code, receiver.received) == ("key", None, [])
        assert "ENCRYPTION_KEYS" in attempt.detail
        assert "gAAAA" not in str(attempt.__dict__)
