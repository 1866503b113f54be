"""`orderhooks_listen` subscribes a receiver on this machine, shows what comes, passes it on, and cleans up."""

import http.client
import io
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from orderhooks import tasks
from orderhooks.management.dev_receiver import Arrival, ForwardError, Listener, check_forward_url, forward
from orderhooks.models import Delivery, Pump, Subscription
from tests.commands.calls import called
from tests.factories import make_delivery, make_event, make_order
from tests.receivers import Answer, RecordingReceiver
from tests.store_formats import ERP

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Watched(io.StringIO):
    """What a command prints, and something to be done once it has printed a text."""

    def __init__(self, text: str, then: Callable[[], Any]) -> None:
        super().__init__()
        self.text, self.then, self.done = text, then, False

    def flush(self) -> None:
        if self.text in self.getvalue() and not self.done:
            self.done = True
            self.then()


def listened(*arguments: str, then: Callable[[], Any]) -> str:
    """What the command prints; `then` runs in the same thread once it listens, as SQLite has one connection here."""
    out = Watched("Listening at", then)
    call_command("orderhooks_listen", *arguments, stdout=out)
    return out.getvalue()


def order_and_pump() -> None:
    make_order(number="A-7")
    tasks.pump()


def test_it_shows_each_webhook_and_deletes_its_subscription() -> None:
    printed = listened("--topics", "order.created", "--count", "1", then=order_and_pump)
    lines = printed.splitlines()
    assert re.fullmatch(r"Listening at http://127\.0\.0\.1:\d+/ for order\.created as listen-\d+\.", lines[0])
    assert lines[1] == (
        "No worker has ever been seen. Start `manage.py qcluster`; if one runs and does nothing, restart it."
    )
    assert re.fullmatch(r"204  order\.created  order A-7  evt_\w{26}  signature valid", lines[2])
    assert lines[3:] == ["Stopped after 1 webhooks; the subscription is deleted."]
    assert not Subscription.objects.exists()
    assert not Delivery.objects.exists()


def test_an_order_that_is_no_object_is_shown_all_the_same() -> None:
    def then() -> None:
        make_delivery(subscription=Subscription.objects.get(), event=make_event(payload={"order": ["A-7"]}))
        tasks.pump()

    assert "204  order.paid  order -  evt_" in listened("--count", "1", then=then)


def test_an_order_without_a_number_is_named_by_its_id() -> None:
    def then() -> None:
        make_delivery(subscription=Subscription.objects.get(), event=make_event(payload={"order": {"id": 42}}))
        tasks.pump()

    assert "204  order.paid  order 42  evt_" in listened("--count", "1", then=then)


def test_an_idle_cluster_is_a_running_worker() -> None:
    Pump.objects.create(ended=True)
    printed = listened("--topics", "order.created", "--count", "1", then=order_and_pump)
    assert "worker" not in printed


def test_a_format_of_the_store_is_verified_too(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"erp": ERP}}
    printed = listened("--topics", "order.created", "--format", "erp", "--count", "1", "--body", then=order_and_pump)
    assert re.search(r"204  order\.created  evt_\w{26}  signature valid\n<order number=\"A-7\"", printed)


def test_it_shows_bodies_with_the_option() -> None:
    printed = listened("--topics", "order.created", "--count", "1", "--body", then=order_and_pump)
    assert '\n  "type": "order.created",\n' in printed


def test_it_responds_as_the_receiver_behind_it_does(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda _count: Answer(418, b"tea")
    states: list[tuple[str, int | None]] = []

    def then() -> None:
        order_and_pump()
        states.extend(Delivery.objects.values_list("state", "last_status_code"))

    printed = listened("--topics", "order.created", "--count", "1", "--forward-to", receiver.url, then=then)
    assert "418  order.created" in printed
    assert states == [("pending", 418)]
    [one] = receiver.received
    assert one.topic == "order.created"
    assert one.headers["webhook-signature"].startswith("v1,")


def test_a_signal_ends_it() -> None:
    printed = listened(then=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert printed.endswith("Stopped after 0 webhooks; the subscription is deleted.\n")
    assert not Subscription.objects.exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(("name", "value"), [("REQUIRE_HTTPS", True), ("ALLOWED_NETWORKS", [])])
def test_settings_that_forbid_this_machine_are_reported(settings, name: str, value: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, name: value}
    with pytest.raises(CommandError, match=re.escape('"ALLOWED_NETWORKS": ["127.0.0.0/8"]')):
        called("orderhooks_listen")
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topics", "order.pade"], "order.pade"),
        (["--port", "70000"], "--port takes a number from 0"),
        (["--forward-to", "ftp://127.0.0.1/"], "not an http or https URL"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        called("orderhooks_listen", *arguments)
    assert not Subscription.objects.exists()


def test_a_port_that_is_taken_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} can't be used: Address already in use"):
            called("orderhooks_listen", "--port", port)


class TestListener:
    def post(self, listener: Listener, body: bytes, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", listener.server.server_port, timeout=10)
        try:
            connection.request("POST", "/", body=body, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_what_is_not_signed_is_refused_and_shown(self) -> None:
        arrivals: list[Arrival] = []
        with Listener(port=0, on_arrival=arrivals.append) as listener:
            listener.secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
            headers = {
                "webhook-id": "evt_1",
                "webhook-timestamp": str(int(time.time())),
                "webhook-signature": "v1,AAAA",
            }
            assert self.post(listener, b"{}", headers) == 401
        [arrival] = arrivals
        assert arrival.event is None
        assert "No signature matches" in arrival.problem
        assert arrival.pretty() == "{}"

    def test_what_is_too_long_or_has_no_length_is_not_read(self) -> None:
        with Listener(port=0, on_arrival=lambda arrival: None) as listener:
            assert self.post(listener, b"", {"content-length": str(10**10)}) == 413
            with socket.create_connection(("127.0.0.1", listener.server.server_port), timeout=10) as client:
                client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
                assert b" 411 " in client.recv(100)

    def test_a_receiver_that_is_not_there_is_a_bad_gateway(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(ForwardError, match=re.escape(url) + " did not respond: .*refused"):
            forward(url, {}, b"")

    @pytest.mark.parametrize("url", ["", "example.com", "file:///etc/passwd", "http://", "http://[::1", "http://a:x/"])
    def test_a_url_to_forward_to_is_checked(self, url: str) -> None:
        with pytest.raises(ForwardError, match="is not an http or https URL"):
            check_forward_url(url)

    def test_the_request_goes_on_as_it_came(self, receiver: RecordingReceiver) -> None:
        headers = {"Webhook-Id": "evt_1", "Connection": "close", "Host": "a", "X-Own": "b"}
        assert forward(f"{receiver.url}?a=b", headers, json.dumps({"type": "x"}).encode()) == 200
        [one] = receiver.received
        assert (one.headers["webhook-id"], one.headers["x-own"]) == ("evt_1", "b")
        assert one.headers["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("length", "status"),
    [("9" * 5000, 413), ("33554433", 413), ("-1", 413), ("٣", 413), ("x", 413), ("", 411)],
)
def test_a_length_of_any_kind_gets_a_response_and_is_reported(length: str, status: int) -> None:
    told: list[Arrival] = []
    with Listener(port=0, on_arrival=told.append) as listener:
        with socket.create_connection(("127.0.0.1", listener.server.server_port), timeout=20) as connection:
            header = f"content-length: {length}\r\n" if length else ""
            connection.sendall(f"POST / HTTP/1.1\r\nhost: x\r\n{header}\r\n".encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
        assert [(arrival.event, arrival.status) for arrival in told] == [(None, status)]


def test_what_comes_before_the_secret_is_known_is_to_come_again() -> None:
    told: list[Arrival] = []
    with Listener(port=0, on_arrival=told.append) as listener:
        assert forward(listener.url, {}, b"{}") == 503
    assert [arrival.problem for arrival in told] == ["it arrived before the subscription was created"]


@pytest.mark.parametrize("path", ["/für?ü=ß", "/a%20b?c=%C3%BC"])
def test_a_path_that_is_not_ascii_is_forwarded_to(path: str) -> None:
    with RecordingReceiver() as receiver:
        parts = receiver.url.split("/", 3)
        assert forward("/".join(parts[:3]) + path, {}, b"{}") == 200
    assert len(receiver.received) == 1


def test_a_host_that_is_not_a_name_is_no_crash() -> None:
    with pytest.raises(ForwardError, match="did not respond"):
        forward("http://ü" + "ü" * 300 + ".localhost:1/", {}, b"{}")
