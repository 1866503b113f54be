"""Ways to write an order, for test_ways_to_write. What a level of capture can't see has no topics there."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import connection, models, transaction
from django.db.migrations.state import ProjectState
from django.db.models import F

from tests.shapes.models import Address, InvoiceOrder, Parcel, Payment, Purchase, PurchaseLine

ON_POSTGRESQL = pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's")
TRACKED: list[type[models.Model]] = [Purchase, PurchaseLine, Payment, Parcel, Address, InvoiceOrder]


@dataclass
class Shop:
    """An order with rows of each kind, as it is before a way to write is tried."""

    order: Purchase
    line: PurchaseLine
    payment: Payment
    parcel: Parcel
    invoice: InvoiceOrder

    @property
    def orders(self) -> Any:
        return Purchase.objects.filter(pk=self.order.pk)


Write = Callable[[Shop], Any]
Topics = dict[str, int]
ROWS: list[Any] = []


def way(
    seen: str = "", tracked: str | None = None, triggered: str | None = None, *, only: str = ""
) -> Callable[[Write], Write]:
    """Add a way to the table: the topics that signals make of it, and those by `track` and triggers, if they differ.

    The function returns the rows that it has inserted without signals.
    """

    def add(write: Write) -> Write:
        by_track = seen if tracked is None else tracked
        by_level = {"signals": seen, "track": by_track, "triggers": by_track if triggered is None else triggered}
        for level, topics in by_level.items():
            if level == "track" and write.__name__ == "another_program":
                continue
            marks = [ON_POSTGRESQL] if level == "triggers" or only else []
            ROWS.append(pytest.param(write, level, topics.split(), id=f"{write.__name__}-{level}", marks=marks))
        return write

    return add


def _free_key(shop: Shop) -> int:
    """SQLite counts on from the highest key there ever was, so no number is free whatever ran before."""
    return shop.order.pk + 1000


def run_sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def run_async(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    async def run() -> Any:
        return await call(*arguments, **options)

    return async_to_sync(run)()


STATE = "order.updated order.paid"


@way(STATE)
def save(shop: Shop) -> None:
    shop.order.state = "paid"
    shop.order.save()


@way(STATE)
def save_of_named_fields(shop: Shop) -> None:
    shop.order.state = "paid"
    shop.order.total = Decimal(99)
    shop.order.save(update_fields=["state"])


@way("order.updated")
def save_of_an_expression(shop: Shop) -> None:
    shop.order.total = F("total") + 1
    shop.order.save()


@way()
def save_that_changes_nothing(shop: Shop) -> None:
    shop.order.save()


@way(STATE)
def asave(shop: Shop) -> None:
    shop.order.state = "paid"
    run_async(shop.order.asave)


@way(STATE)
def two_saves_in_a_transaction(shop: Shop) -> None:
    with transaction.atomic():
        shop.order.state = "held"
        shop.order.save()
        shop.order.state = "paid"
        shop.order.save()


@way()
def save_and_save_back_in_a_transaction(shop: Shop) -> None:
    with transaction.atomic():
        for state in ("paid", "open"):
            shop.order.state = state
            shop.order.save()


@way()
def save_that_is_rolled_back(shop: Shop) -> None:
    with transaction.atomic():
        shop.order.state = "paid"
        shop.order.save()
        transaction.set_rollback(True)


@way(STATE)
def update_or_create_of_an_order_that_exists(shop: Shop) -> None:
    Purchase.objects.update_or_create(pk=shop.order.pk, defaults={"state": "paid"})


@way("order.created")
def update_or_create_of_a_new_order(shop: Shop) -> None:
    Purchase.objects.update_or_create(pk=_free_key(shop), defaults={"total": 1})


@way("order.created")
def get_or_create(shop: Shop) -> None:
    Purchase.objects.get_or_create(pk=_free_key(shop))


@way("order.created")
def create(_shop: Shop) -> None:
    Purchase.objects.create()


@way("order.created order.paid")
def create_as_paid(_shop: Shop) -> None:
    Purchase.objects.create(state="paid")


@way("order.created")
def acreate(_shop: Shop) -> None:
    run_async(Purchase.objects.acreate)


@way("order.deleted")
def delete(shop: Shop) -> None:
    shop.order.delete()


@way("order.deleted")
def delete_of_a_queryset(shop: Shop) -> None:
    shop.orders.delete()


@way("order.deleted")
def adelete_of_a_queryset(shop: Shop) -> None:
    run_async(shop.orders.adelete)


@way("", STATE)
def update(shop: Shop) -> None:
    shop.orders.update(state="paid")


@way("", STATE)
def aupdate(shop: Shop) -> None:
    run_async(shop.orders.aupdate, state="paid")


@way("", "order.updated")
def update_by_an_expression(shop: Shop) -> None:
    shop.orders.update(total=F("total") * 2)


@way()
def update_to_the_same_value(shop: Shop) -> None:
    shop.orders.update(state="open")


@way("order.updated", STATE)
def update_then_save(shop: Shop) -> None:
    with transaction.atomic():
        shop.orders.update(state="paid")
        shop.order.refresh_from_db()
        shop.order.total = Decimal(60)
        shop.order.save()


@way(STATE)
def save_then_update_of_another_column(shop: Shop) -> None:
    shop.order.state = "paid"
    shop.order.save()
    shop.orders.update(billing=None)


@way("", "order.updated")
def update_of_the_foreign_key_to_a_row(shop: Shop) -> None:
    shop.orders.update(delivery=Address.objects.create(city="Rome"))


@way("", "order.created")
def bulk_create(_shop: Shop) -> Any:
    return Purchase.objects.bulk_create([Purchase()])


@way("", "order.created order.paid")
def bulk_create_as_paid(_shop: Shop) -> Any:
    return Purchase.objects.bulk_create([Purchase(state="paid")])


@way("", "order.created")
def abulk_create(_shop: Shop) -> Any:
    return run_async(Purchase.objects.abulk_create, [Purchase()])


@way("", STATE)
def bulk_update(shop: Shop) -> None:
    shop.order.state = "paid"
    Purchase.objects.bulk_update([shop.order], ["state"])


@way("", STATE)
def abulk_update(shop: Shop) -> None:
    shop.order.state = "paid"
    run_async(Purchase.objects.abulk_update, [shop.order], ["state"])


@way("", STATE)
def upsert_of_an_order_that_exists(shop: Shop) -> None:
    unique: Any = {} if connection.vendor == "mysql" else {"unique_fields": ["pk"]}
    row = Purchase(pk=shop.order.pk, state="paid")
    Purchase.objects.bulk_create([row], update_conflicts=True, update_fields=["state"], **unique)


@way()
def insert_that_is_ignored(shop: Shop) -> None:
    Purchase.objects.bulk_create([Purchase(pk=shop.order.pk, state="paid")], ignore_conflicts=True)


@way("", STATE)
def sql_update(shop: Shop) -> None:
    run_sql("UPDATE shapes_purchase SET state = %s WHERE id = %s", "paid", shop.order.pk)


@way("", STATE)
def sql_update_of_many(shop: Shop) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE shapes_purchase SET state = %s WHERE id = %s", [("held", shop.order.pk), ("paid", shop.order.pk)]
        )


@way("", "order.created")
def sql_insert(shop: Shop) -> Any:
    key = _free_key(shop)
    run_sql("INSERT INTO shapes_purchase (id, state, total) VALUES (%s, 'open', 1)", key)
    return [Purchase(pk=key)]


@way("", STATE)
def save_of_a_migration(shop: Shop) -> None:
    """Models of migrations are classes of their own, to which no handler of signals is connected."""
    old = ProjectState.from_apps(apps).apps.get_model("shapes", "Purchase").objects.get(pk=shop.order.pk)
    old.state = "paid"
    old.save()


@way("", STATE, only="postgresql")
def sql_upsert(shop: Shop) -> None:
    run_sql(
        "INSERT INTO shapes_purchase (id, state, total) VALUES (%s, 'paid', 1) "
        "ON CONFLICT (id) DO UPDATE SET state = excluded.state",
        shop.order.pk,
    )


@way("", "order.updated order.payment", only="postgresql")
def copy(shop: Shop) -> Any:
    payment = Payment(order=shop.order, amount=1)
    with connection.cursor() as cursor, cursor.copy("COPY shapes_payment (id, order_id, amount) FROM STDIN") as rows:
        rows.write_row((payment.id, shop.order.pk, payment.amount))
    return [payment]


@way("", "", STATE, only="postgresql")
def another_program(shop: Shop) -> None:
    """A program without Django. `track` can't see it: the block would wait for its own lock."""
    other = connection.get_new_connection({**connection.get_connection_params(), "autocommit": True})
    with other, other.cursor() as cursor:
        cursor.execute("UPDATE shapes_purchase SET state = 'paid' WHERE id = %s", [shop.order.pk])
