"""Trials of all sources together: what may belong to one source alone."""

from collections import Counter
from collections.abc import Sequence

from django.db import models

from orderhooks.source_trials.running import Fault, Faults
from orderhooks.sources import OrderSource, Related

__all__ = ["same_row", "shared"]


def shared(known: Sequence[tuple[str, OrderSource]]) -> Faults:
    """The faults of sources that share a name or a table of orders. Related rows may belong to several sources."""
    names = Counter(name for _path, source in known if (name := _name(source)))
    of_orders: dict[type[models.Model], str] = {}
    for path, source in known:
        if names[name := _name(source)] > 1:
            remedy = "Give each source its own name, which marks its events."
            yield Fault(path, "E040", f"Two sources have the name {name!r}.", remedy)
        try:
            owners: list[OrderSource | Related] = [source, *source.all_related]
            found = [owner.get_model() for owner in owners]
        except Exception:  # noqa: S112 - the trials of the source report it
            continue
        order = found[0]
        remedy = "A model belongs to one source: remove one, or distinguish its orders in one payload()."
        if other := next((one for model, one in of_orders.items() if same_row(model, order)), None):
            # The row of an order would be watched twice, or a save of its parent's part by one of them alone.
            yield Fault(path, "E041", f"The rows of {order._meta.label} are already watched by {other!r}.", remedy)
        of_orders.setdefault(order, path)
        # One source may reach related rows on several paths, such as a billing and a shipping address.
        if any(model._meta.concrete_model is order._meta.concrete_model for model in found[1:]):
            yield Fault(path, "E041", f"The rows of {order._meta.label} are already watched by {path!r}.", remedy)


def same_row(one: type[models.Model], other: type[models.Model]) -> bool:
    """Whether they are one model, a proxy of it, or parent and child of multi-table inheritance."""
    concrete = [model._meta.concrete_model or model for model in (one, other)]
    return issubclass(concrete[0], concrete[1]) or issubclass(concrete[1], concrete[0])


def _name(source: OrderSource) -> str:
    try:
        name = source.name
    except Exception:
        return ""  # its own trial reports it
    return name if isinstance(name, str) else ""
