"""What users who are limited to stores can do: no button, action or form changes a row of another store."""

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from orderhooks.models import Backfill, Delivery, Order, Replay, Subscription
from tests.admin.shops import SETTING, Shops, make_shops, visitor
from tests.admin.test_stores import ROWS
from tests.admin.visits import errors_of, text_of

pytestmark = pytest.mark.django_db

# What the pages that ask for a confirmation send, and the choices in them.
CONFIRMED = {"post": "yes", "confirmed": "1", "confirm": "1", "choice": "all", "hours": "0"}
MODELS = ("order", "subscription", "event", "delivery", "replay", "backfill")


@pytest.fixture
def shops(settings) -> Shops:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    return make_shops()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["berlin", "nobody"])
def test_a_button_or_form_of_another_stores_row_changes_nothing(shops, kind, name) -> None:
    client, before = visitor(kind), shops.rows_of_others()
    model, _status = ROWS[name]

    def press(key: object) -> int:
        return client.post(reverse(f"admin:{name}", args=[key]), CONFIRMED).status_code

    assert press(shops.paris.row(model).pk) == press(999999)
    assert shops.rows_of_others() == before


def actions() -> list[tuple[str, str]]:
    """Of all lists of the admin, with the name of the model."""
    request = RequestFactory().get("/")

    class Everything:
        is_active = is_staff = True

        def has_perm(self, *_arguments: Any) -> bool:
            return True

    request.user = Everything()  # type: ignore[assignment]
    found = []
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label == "orderhooks" and model._meta.model_name in MODELS:
            found += [(model._meta.model_name, action) for action in model_admin.get_actions(request)]
    return found


@pytest.mark.parametrize(("model", "action"), actions())
@pytest.mark.parametrize("kind", ["berlin", "nobody"])
@pytest.mark.parametrize("select_across", ["0", "1"])
def test_an_action_changes_nothing_of_another_store(shops, kind, model, action, select_across) -> None:
    strays = (model, action) != ("subscription", "delete_selected")
    client, before = visitor(kind), shops.rows_of_others(strays=strays)
    everything = list(type(shops.paris.row(model)).objects.values_list("pk", flat=True))
    data = {"action": action, "_selected_action": everything, "select_across": select_across, **CONFIRMED}
    response = client.post(f"/admin/orderhooks/{model}/", data, follow=True)
    assert response.status_code == 200
    assert [text for text in shops.texts if text in text_of(response)] == []
    assert shops.rows_of_others(strays=strays) == before


def test_an_action_changes_what_is_of_the_users_store(shops) -> None:
    rows = Subscription.objects.filter(state="paused")
    data = {"action": "resume", "_selected_action": list(rows.values_list("pk", flat=True)), **CONFIRMED}
    visitor("berlin").post("/admin/orderhooks/subscription/", data)
    assert set(Subscription.objects.filter(state="active").values_list("store", flat=True)) == {"berlin"}


def test_what_failed_of_an_order_is_redelivered_to_the_stores_subscriptions_alone(shops) -> None:
    before = shops.rows_of_others()
    url = f"/admin/orderhooks/order/{shops.berlin.order.pk}/webhooks/redeliver/"
    visitor("berlin").post(url)
    assert Delivery.objects.get(pk=shops.berlin.delivery.pk).state == "pending"
    assert shops.rows_of_others() == before


@pytest.mark.parametrize("job", [Replay, Backfill])
def test_no_job_is_begun_for_another_stores_subscription(shops, job) -> None:
    job.objects.all().delete()
    path = f"/admin/orderhooks/{job._meta.model_name}/add/"
    plan = {
        "subscription": shops.paris.subscription.pk,
        "since": "2026-01-01T00:00",
        "only": "all",
        "topic": "order.updated",
        "rate": "5",
        "confirm": "1",
    }
    response = visitor("berlin").post(path, plan)
    assert list(response.context["form"].errors) == ["subscription"]
    assert not job.objects.exists()
    assert visitor("berlin").post(path, {**plan, "subscription": shops.berlin.subscription.pk}).status_code == 302


def subscription_form(**fields: Any) -> dict[str, Any]:
    endpoint = {"name": "New", "url": "https://new.example/", "topics": ["*"], "signature": "standard", "headers": ""}
    return {"objective_share": "99", **endpoint, **fields}


def order_form(client: Client, **fields: Any) -> dict[str, Any]:
    """The form of a new order as a browser sends it."""
    response = client.get("/admin/orderhooks/order/add/")
    form = response.context["adminform"].form
    values = {f"{name}": form[name].value() for name in form.fields if form[name].value() is not None}
    for formset in response.context["inline_admin_formsets"]:
        values |= {f"{formset.formset.prefix}-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    placed = values.pop("placed_at")
    values |= {"placed_at_0": f"{placed:%Y-%m-%d}", "placed_at_1": f"{placed:%H:%M:%S}"}
    return {**values, **{f"{name}": "{}" for name in ("billing_address", "shipping_address", "metadata")}, **fields}


@pytest.mark.parametrize("kind", ["berlin", "nobody"])
@pytest.mark.parametrize("store", ["paris", "", "rome"])
@pytest.mark.parametrize("page", ["add", "change"])
def test_a_subscription_is_saved_for_no_other_store(shops, kind, store, page) -> None:
    client, before = visitor(kind), list(Subscription.objects.values_list("name", "store"))
    key = shops.berlin.subscription.pk
    path = "subscription/add/" if page == "add" else f"subscription/{key}/change/"
    if (kind, page) == ("nobody", "change"):
        assert client.post(f"/admin/orderhooks/{path}", subscription_form(store=store)).status_code == 302
    else:
        remedy = "Choose one of your stores: berlin." if kind == "berlin" else "setting STORES_FOR_USER"
        found = errors_of(client, path, subscription_form(store=store))
        assert list(found) == ["store"]
        assert remedy in str(found["store"])
    assert list(Subscription.objects.values_list("name", "store")) == before


def test_a_subscription_is_saved_for_the_users_store(shops) -> None:
    client = visitor("berlin")
    client.post("/admin/orderhooks/subscription/add/", subscription_form(store="berlin"))
    assert Subscription.objects.get(name="New").store == "berlin"
    text = client.get("/admin/orderhooks/subscription/add/").content.decode()
    assert '<option value="berlin" selected>' in text


@pytest.mark.parametrize("number", ["PARIS-7", "ROME-7"])
@pytest.mark.parametrize("store", ["paris", ""])
def test_an_order_is_saved_for_no_other_store_and_no_error_shows_its_numbers(shops, number, store) -> None:
    client, count = visitor("berlin"), Order.objects.count()
    form = order_form(client, store=store, number=number)
    assert list(errors_of(client, "order/add/", form)) == ["store"]
    assert Order.objects.count() == count


def test_an_order_of_the_users_store_may_have_a_number_of_another_store(shops) -> None:
    client = visitor("berlin")
    response = client.post("/admin/orderhooks/order/add/", order_form(client, store="berlin", number="PARIS-7"))
    assert response.status_code == 302, response.context["errors"]
    assert Order.objects.filter(number="PARIS-7", store="berlin").exists()


@pytest.mark.parametrize("page", ["try", "{key}/try"])
def test_choices_are_tried_on_the_events_of_the_users_stores(shops, page) -> None:
    path = f"/admin/orderhooks/subscription/{page.format(key=shops.berlin.subscription.pk)}/"
    choices = {"topics": ["*"], "changed_fields": "", "filter": "", "projection": ""}
    response = visitor("berlin").post(path, {**choices, "store": "berlin"})
    text = response.content.decode()
    assert "BERLIN payload" in text
    assert [one for one in shops.texts if one in text] == []
    for store in ("paris", ""):
        response = visitor("berlin").post(path, {**choices, "store": store})
        assert response.context["form"].errors["store"] == ["Choose one of your stores: berlin."]
        assert response.context["trials"] is None


def test_a_preview_shows_no_order_of_another_store(shops) -> None:
    path = f"/admin/orderhooks/subscription/{shops.berlin.subscription.pk}/preview/"
    for number, is_shown in (("BERLIN-7", True), ("PARIS-7", False), ("ROME-7", False)):
        response = visitor("berlin").get(path, {"order": number, "topic": "order.paid"})
        assert bool(response.context["shown"]) == is_shown
        assert "PARIS Byron" not in response.content.decode()
