"""The class that a store subclasses to connect its own order model."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, models

from orderhooks.sources import conditions, keys, reading
from orderhooks.sources.field_payload import FieldPayload
from orderhooks.sources.related import Lines, Related
from orderhooks.sources.values import watched_values


class OrderSource:
    """Describes one kind of order. Subclass it, and name the subclass in ORDERHOOKS["SOURCES"]:

        class ShopOrders(OrderSource):
            name = "shop"
            model = "shop.Purchase"
            watched = ("reference", "state", "total")
            transitions = {"state": {"paid": "order.paid"}}
            payload_fields = FieldPayload("reference", "state", "total", "placed_at", items=("sku", "amount"))

            def number(self, order):
                return order.reference

            def find(self, number, *, store, using):
                return self.newest(using=using).filter(reference=number).first()

    `name`: marks the source's events; it must never change.
    `model`: the model of the orders, as `app.Model`. With multi-table inheritance, saves through parent models are
    captured too.
    `only`: which rows of the model are orders, if it holds others too, such as carts: a `Q` of its own columns with the
    lookups `exact`, `in` and `isnull`, as in `~Q(state="cart")`. These columns are watched too. Other rows, and the
    rows that belong to them, make no events. One that becomes an order is created, one that ceases to be one deleted.
    `watched`: the model's fields whose changes are events.
    `transitions`: for a field, the topics of its new values, published in addition to `order.updated`. These fields are
    watched too.
    `lines`: the lines of an order, if it has any.
    `related`: other rows that belong to an order, such as payments, shipments, or an address: see `Related`.
    `payload_fields`: the fields that receivers get: see `FieldPayload`. Default: all watched fields, those of the lines
    and related rows too. For a payload of another form, write `payload`, and then `schema` and `example` as well.
    `not_in_digest`: keys of the payload that may change without an event, such as the time of the last save. The
    order's digest leaves them out: see `payloads.digest`.
    `personal`: the paths of the payload that are about a person, as in ("customer.email", "shipping_address",
    "lines.*.engraving"), and the names of watched fields that are. An erasure of the person's data replaces the
    values at and below them. Default: values with a typical key, such as `email`, `phone`, `note` or `address`.
    `computed_topics`: the topics that `compute_topics` may return.
    `topics`: topics of its own beside those of the catalogue, each with a sentence that describes it. A project names
    its own in the setting TOPICS; a source that others install brings them.
    `newest_first`: how to sort the orders, the newest first, as in `order_by()`. Empty: see `newest`.
    `dated_by`: the field with an order's date, for what concerns the orders since a time. Empty: the first date in
    `newest_first`, in `Meta.get_latest_by`, or with `auto_now_add`.
    `store_field`: the field with the name of an order's store, if a project has several: see `store`.
    `capture`: "signals" captures the changes that Django reports. "triggers" has PostgreSQL capture all changes, those
    of other programs too; `manage.py migrate` puts the triggers in place. Other databases go on with signals.
    `atomic_saves`: whether each save of an order or a line runs in a transaction. It ensures that no change is saved
    without being captured, even if another `post_save` handler raises an error or the process dies. Set it to False if
    such handlers need autocommit. Then a change can be lost unless it is saved in `transaction.atomic()`.

    When the methods run: `fetch`, `number`, `store`, `payload`, `present` and `compute_topics` after the commit, on the
    connection of the save. Before a deletion, `fetch`, `number`, `store` and `payload` run in its transaction. `find`
    and `newest` run for previews, commands and checks, on the connection for writing. An error in any of them never
    reaches the store's save: the event is kept with the error, and can be published again.
    """

    name: str
    model: str
    only: models.Q | None = None
    watched: tuple[str, ...] = ()
    transitions: Mapping[str, Mapping[str, str]] = {}
    lines: Lines | None = None
    related: tuple[Related, ...] = ()
    payload_fields: FieldPayload | None = None
    not_in_digest: tuple[str, ...] = ()
    personal: tuple[str, ...] | None = None
    computed_topics: tuple[str, ...] = ()
    topics: Mapping[str, str] = {}
    capture: str = "signals"
    atomic_saves: bool = True
    newest_first: tuple[str, ...] = ()
    dated_by: str = ""
    store_field: str = ""

    def get_model(self) -> type[models.Model]:
        """The model of the orders. Raises LookupError if the app or the model is not installed."""
        return apps.get_model(self.model)

    @property
    def all_related(self) -> tuple[Related, ...]:
        """The lines and all other related rows."""
        return (*((self.lines,) if self.lines else ()), *self.related)

    @property
    def only_fields(self) -> tuple[str, ...]:
        """The names of the fields that distinguish orders from other rows. Empty if each row is an order."""
        return () if self.only is None else conditions.fields_of(self.only, self.get_model())

    def is_order(self, order: models.Model) -> bool:
        """Whether an instance of the model is an order, by the values that it has in memory."""
        return self.only is None or self.is_order_with(
            watched_values(order, self.only_fields), using=order._state.db or DEFAULT_DB_ALIAS
        )

    def is_order_with(self, values: Mapping[str, Any], *, using: str) -> bool:
        """Whether a row with these values is an order. `values` has the `only_fields` as JSON, by name."""
        return self.only is None or conditions.holds(self.only, self.get_model(), values, using=using)

    def orders(self, *, using: str) -> "models.QuerySet[Any]":
        """All orders, without an order: the rows of the model for which `only` holds."""
        rows = reading.plain(self.get_model(), using)
        return rows if self.only is None else rows.filter(self.only)

    def own_topics(self) -> list[str]:
        """The topics that a change of an order can have beside `order.created`, `order.updated` and `order.deleted`."""
        of_values = (topic for by_value in self.transitions.values() for topic in by_value.values())
        of_rows = (topic for related in self.all_related for topic in related.topics.values())
        return list(dict.fromkeys((*of_values, *of_rows, *self.computed_topics, *self.topics)))

    def fetch(self, order_pk: str, *, using: str) -> Any:
        """The row with that primary key as the database has it now, or None. Read from the database `using`.

        `order_pk` is text; of a composite key it is a JSON list of texts. The model's managers are not used, because
        they could hide an order. Override it if `payload` needs another class than `get_model()`, such as with
        django-polymorphic:

            def fetch(self, order_pk, *, using):
                order = super().fetch(order_pk, using=using)
                return order and order.get_real_instance()
        """
        model = self.get_model()
        if len(keys.key_fields(model)) > 1:
            rows = self._with_hints(reading.plain(model, using))
            return next(iter(rows.filter(**keys.from_text(model, order_pk))), None)

        def make(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
            return self._with_hints(rows).filter(pk=order_pk)

        last = model._meta.pk.get_db_prep_value(order_pk, connections[using])
        found = reading.rows(model, "order", repr(type(self)), using=using, make=make, last=last)
        return found[0] if found else None

    def _with_hints(self, rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        """The orders with what helps `payload` to make fewer queries."""
        return rows

    def find(self, number: str, *, store: str, using: str) -> Any:
        """The order with that number, or None. `store`: blank for any store.

        It looks for the number among the primary keys. Override it together with `number`.
        """
        order = by_key(self, number, using=using)
        fits = order is not None and self.number(order) == number and store in ("", self.store(order))
        return order if fits else None

    def newest(self, *, using: str) -> "models.QuerySet[Any]":
        """The orders, the newest first. Used by previews, commands and checks.

        They are sorted by the first of these that the model has: `newest_first`, `Meta.get_latest_by`, a primary key
        that counts up, a field with `auto_now_add`, the primary key.
        """
        return self.orders(using=using).order_by(*(self.newest_first or self._newest_first()))

    def _newest_first(self) -> tuple[str, ...]:
        options = self.get_model()._meta
        if latest := options.get_latest_by:
            names = (latest,) if isinstance(latest, str) else tuple(latest)
            return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in names)
        if not isinstance(options.pk, models.AutoField | models.SmallAutoField | models.BigAutoField):
            created = (field.name for field in options.concrete_fields if getattr(field, "auto_now_add", False))
            if name := next(created, None):
                return (f"-{name}", "-pk")
        return ("-pk",)

    def number(self, order: Any) -> str:
        """What people call the order, at most 255 characters. Default: the primary key, as text."""
        return keys.text_of(order, self.get_model())

    def store(self, order: Any) -> str:
        """The store to which the order belongs, at most 255 characters. Default: what `store_field` holds; without it
        blank, for a single store.
        """
        return str(getattr(order, self.store_field)) if self.store_field else ""

    def of_stores(self, orders: "models.QuerySet[Any]", stores: Collection[str]) -> "models.QuerySet[Any]":
        """Those of the orders that belong to one of these stores, for users of the admin who are limited to stores.

        Default: by `store_field`; without it none, because such an order has no store. Override it together with
        `store`:

            def store(self, order):
                return order.site.domain

            def of_stores(self, orders, stores):
                return orders.filter(site__domain__in=stores)
        """
        if not self.store_field:
            return orders.none()
        field: Any = self.get_model()._meta.get_field(self.store_field)
        return orders.filter(**{f"{self.store_field}__in": _valid_values(field, stores)})

    def payload(self, order: Any) -> dict[str, Any]:
        """The `order` object in the events: JSON values only, as `schema` describes them.

        `order` is an instance as `fetch` returns it. Its watched fields, the lines and related rows read by
        `order.<relation>.all()`, and the rows that it points to are as the transaction committed them, even if later
        transactions changed them. Rows that lead to the order by several foreign keys are as they are now.

        It is made from `payload_fields`. To add a value, override it:

            def payload(self, order):
                return {**super().payload(order), "weight": order.weight()}
        """
        return (self.payload_fields or FieldPayload.of_watched(self)).payload(self, order)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of what `payload` returns, for the catalogue of topics. No database."""
        fields = self._shown_fields()
        return fields.schema(self) if fields else {"type": "object"}

    def example(self) -> dict[str, Any]:
        """An example of what `payload` returns, for the catalogue of topics and for tests of endpoints. No database."""
        fields = self._shown_fields()
        return fields.example(self) if fields else {}

    def _shown_fields(self) -> FieldPayload | None:
        """The fields that the payload is made from. None if only `payload` is written, by hand."""
        if self.payload_fields is None and type(self).payload is OrderSource.payload:
            return FieldPayload.of_watched(self)
        return self.payload_fields

    def present(self, order: Any, field: str, value: Any) -> Any:
        """A watched field's value as `changes` shows it. `value` is the old or the new one, as JSON.

        `field` is the name of an order's field; for related rows it follows their key, as in `lines.quantity`.
        """
        return value

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        """Topics of a transaction's net change, in addition to those of `transitions` and of related rows.

        `changes` holds `[old, new]` of each changed field, as JSON, and `[[old rows], [new rows]]` of related rows by
        their key. Of a new order it holds the fields of `transitions` that differ from their defaults, and the related
        rows that have topics. `order` is as for `payload`. Not called for a deletion. List all topics that it may
        return in `computed_topics`.

            computed_topics = ("order.paid_in_full",)

            def compute_topics(self, order, changes):
                if "payments" in changes and order.balance() <= 0:
                    yield "order.paid_in_full"
        """
        return ()


def _valid_values(field: Any, texts: Iterable[str]) -> list[str]:
    """The texts that can be values of the field: of a number or a foreign key, not each can be."""
    valid = []
    for text in texts:
        try:
            (field.target_field if field.is_relation else field).to_python(text)
        except (ValidationError, ValueError, TypeError):
            continue
        valid.append(text)
    return valid


def by_key(source: OrderSource, text: str, *, using: str) -> Any:
    """The order with that primary key as the database has it now. None if there is none, or `text` can't be a key."""
    model = source.get_model()
    try:
        if not source.orders(using=using).filter(**keys.from_text(model, text)).exists():
            return None
    except (ValueError, TypeError, ValidationError):
        return None
    return source.fetch(text, using=using)
