"""What operators ask of the admin: when, to where, what changed, what a press gives, where the dashboard is."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from orderhooks.models import Delivery, Subscription
from tests.admin.test_deliveries import rows
from tests.admin.visits import page, staff
from tests.factories import make_attempt, make_delivery, make_event, make_subscription

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("since=2026-11-20T00:00&until=2026-11-22T00:00", [21, 20]),
        ("until=2026-11-21T00:00", [20]),
        ("until=2026-11-01T00:00", []),
        ("since=2026-11-21T00:00", [22, 21]),
        ("until=nonsense", []),
    ],
)
def test_deliveries_are_found_from_and_until_a_time(operator, monkeypatch, query: str, found: list[int]) -> None:
    made: dict[str, int] = {}
    for day in (20, 21, 22):
        at = timezone.now().replace(year=2026, month=11, day=day, hour=12)
        monkeypatch.setattr("orderhooks.db.public_ids.time.time", at.timestamp)
        made[make_delivery(created_at=at).public_id] = day
    assert [made[public_id] for public_id in rows(operator, query)] == found


def test_an_attempt_shows_where_it_went_to_those_who_may_see_requests(operator) -> None:
    delivery = make_delivery()
    make_attempt(delivery=delivery, method="POST", url="https://crm.example.com/hooks?a=1")
    assert "POST https://crm.example.com/hooks?a=1" in page(operator, f"delivery/{delivery.pk}/change/")
    reader = staff("view_delivery")
    assert "crm.example.com/hooks?a=1" not in page(reader, f"delivery/{delivery.pk}/change/")


def test_a_body_is_laid_out_to_be_read_and_can_be_copied_as_it_is_sent(operator) -> None:
    delivery = make_delivery(event=make_event(payload={"order": {"number": "1042"}, "changes": {}}))
    text = page(operator, f"delivery/{delivery.pk}/change/")
    assert "&quot;order&quot;: {\n" in text
    assert "&quot;number&quot;:&quot;1042&quot;" in text.partition("<textarea readonly")[2]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("pending", "The 8 automatic attempts stay as they were planned"),
        ("failed", "If it fails, 9 automatic attempts follow"),
        ("delivered", "If it fails, 9 automatic attempts follow"),
    ],
)
def test_what_a_press_gives_is_said_before_it(operator, state: str, said: str) -> None:
    now = timezone.now()
    due = {"next_attempt_at": now + timedelta(minutes=5)} if state == "pending" else {"finished_at": now}
    delivery = make_delivery(state=state, attempts_made=2, **{"next_attempt_at": None, **due})
    assert said in page(operator, f"delivery/{delivery.pk}/change/")


def test_a_test_of_an_endpoint_offers_no_redelivery_and_says_nothing_of_it(operator) -> None:
    delivery = make_delivery(state="delivered", trigger=Delivery.Trigger.TEST, finished_at=timezone.now())
    assert "Redelivering makes" not in page(operator, f"delivery/{delivery.pk}/change/")


def test_the_history_of_a_subscription_has_old_and_new_values_and_no_secret(operator) -> None:
    subscription = make_subscription(name="CRM", url="https://crm.example.com/a", topics=["order.paid"])
    address = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    form = operator.get(address).context["adminform"].form
    data = {name: value for name in form.fields if (value := form[name].value()) not in (None, False)}
    data |= {"name": "CRM of Berlin", "url": "https://crm.example.com/b", "headers": "x-key: s3cr3t-value"}
    response = operator.post(address, data)
    assert response.status_code == 302, response.context["adminform"].form.errors
    message = LogEntry.objects.latest("pk").get_change_message()
    assert "CRM → CRM of Berlin." in message
    assert "https://crm.example.com/a → https://crm.example.com/b." in message
    assert "s3cr3t" not in message
    assert Subscription.objects.get().name == "CRM of Berlin"


@pytest.mark.parametrize(
    "of",
    [
        *("delivery/", "subscription/", "event/", "order/", "replay/", "replay/add/", "subscription/topics/"),
        *("dashboard/order/", "subscription/{key}/change/", "subscription/{key}/preview/"),
        *("backfill/", "backfill/add/"),
        *("subscription/{key}/code-samples/", "subscription/{key}/resume/"),
        *("subscription/add/", "order/add/", "subscription/{key}/history/", "subscription/{key}/delete/"),
    ],
)
def test_the_dashboard_is_one_click_away(operator, of: str) -> None:
    key = make_subscription(state="paused").pk
    address = f"/admin/orderhooks/{of.format(key=key)}"
    response = operator.post(address) if of.endswith("resume/") else operator.get(address)
    assert response.status_code == 200
    assert 'href="/admin/orderhooks/dashboard/"' in response.content.decode().partition('<main id="content-start"')[2]


def test_the_dashboard_is_the_first_of_its_group(operator) -> None:
    for address in ("/admin/", "/admin/orderhooks/"):
        [models] = [
            app["models"] for app in operator.get(address).context["app_list"] if app["app_label"] == "orderhooks"
        ]
        assert models[0]["admin_url"] == "/admin/orderhooks/dashboard/"
        assert models[0]["view_only"]


def test_a_replay_is_of_everything_unless_it_is_chosen_otherwise(operator) -> None:
    checked = page(operator, "replay/add/").partition('value="all"')[2].partition(">")[0]
    assert "checked" in checked
