"""An order source is tried before it is trusted: each fault has a sentence and a remedy, and nothing raises."""

import importlib.util
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import models
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import isolate_apps

from orderhooks import checks, source_trials
from orderhooks.management import doctor
from orderhooks.source_trials import running, static
from orderhooks.sources import BuiltInOrders, Lines, OrderSource
from tests.factories import make_order

# Django 6.1 queries the database for its part of the checks.
pytestmark = pytest.mark.django_db


class Users(OrderSource):
    name = "users"
    model = "auth.User"
    watched: tuple[str, ...] = ("username", "is_active")

    def payload(self, order: Any) -> dict[str, Any]:
        return {"name": order.username}


class BringsNoName(Users):
    topics = {"Gift": "It was wrapped."}


class BringsNoSentence(Users):
    topics = {"order.gift_wrapped": ""}


class Nameless(Users):
    name = None  # type: ignore[assignment]


class LongNamed(Users):
    name = "u" * 1000


class Namesake(Users):
    model = "auth.Group"
    watched = ("name",)


class Twin(Users):
    name = "twin"


class Ghost(Users):
    model = "auth.Ghost"


class GhostWithLines(Ghost):
    lines = Lines(model="auth.Permission", order_field="content_type", watched=("name",))


class Mistyped(Users):
    watched = ("usernam",)


class TextForTuple(Users):
    watched = "username"  # type: ignore[assignment]


class TextForTupleOfLines(Users):
    lines = Lines("admin.LogEntry", "user", "object_repr")  # type: ignore[arg-type]


class FarFetched(Users):
    watched = ("date",)


class SpaceNamed(Users):
    name = "our shop"


class StoredElsewhere(Users):
    store_field = "usernam"


class Misdated(Users):
    dated_by = "username"


class MisspeltDate(Users):
    dated_by = "date_join"


class Misordered(Users):
    newest_first = ("-date_join",)

    def find(self, number: str, *, store: str, using: str) -> Any:
        return self.newest(using=using).filter(username=number).first()


class FarFromOrdered(Users):
    newest_first = ("-placed_at",)


class TextForOrder(Users):
    newest_first = "-date_joined"  # type: ignore[assignment]


class FarFromTopics(Users):
    transitions = {"is_active": {False: "order.foo"}}  # type: ignore[dict-item]


class Reverse(Users):
    watched = ("logentry",)


class ManyToMany(Users):
    watched = ("groups",)


class BadTransitionField(Users):
    transitions = {"stat": {"x": "order.paid"}}


class BadTopic(Users):
    transitions = {"is_active": {False: "order.payed"}}  # type: ignore[dict-item]


class ListTransitions(BuiltInOrders):
    transitions = {"metadata": {"x": "order.paid"}}


class WrongKey(Users):
    lines = Lines("admin.LogEntry", "content_type", ("action_flag",))


class NoKey(Users):
    lines = Lines("admin.LogEntry", "action_flag", ("action_flag",))


class GhostLines(Users):
    lines = Lines("admin.LogEntry", "user", ("colour",))


class OwnLines(Users):
    lines = Lines("auth.User", "id", ())


class Wordless(OrderSource):
    name = "wordless"
    model = "auth.User"


class Misfit(Users):
    def schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

    def example(self) -> dict[str, Any]:
        return {"name": 7}


class NotJson(Users):
    def example(self) -> dict[str, Any]:
        return {"name": object()}


class NotSchema(Misfit):
    def schema(self) -> dict[str, Any]:
        return {"type": "text"}


class Raising(Users):
    def __init__(self) -> None:
        raise RuntimeError("no shop\nopen")


class RaisingExample(Users):
    def example(self) -> dict[str, Any]:
        raise KeyError("total")


HERE = "tests.test_source_trials."
STATIC = [
    (["nowhere.Orders"], "E048", "can't be imported", "path of an OrderSource"),
    (["tests.test_source_trials.Nobody"], "E048", "can't be imported", "path of an OrderSource"),
    (["Raising"], "E048", "it raises RuntimeError: no shop open.", "without arguments"),
    (["tests.test_source_trials.HERE"], "E048", "not an OrderSource class", "Make it a subclass"),
    (["Nameless"], "E040", "has no `name`", "Set one"),
    (["LongNamed"], "E040", "has 1000 characters", "at most"),
    (["SpaceNamed"], "E040", "`name` is 'our shop'", "use letters, digits"),
    (["Users", "Namesake"], "E040", "Two sources have the name 'users'", "its own name"),
    (["Users", "Twin"], "E041", "rows of auth.User are already watched by 'tests.test_source_trials.", "one source"),
    (["Ghost"], "E041", "can't be found", "app_label.Model"),
    (["GhostWithLines"], "E041", "can't be found", "app_label.Model"),
    (["Mistyped"], "E042", "no column 'usernam'", "Did you mean 'username'?"),
    (
        ["TextForTuple"],
        "E042",
        "`watched` is the text 'username'",
        'Write a tuple: watched = ("username",).',
    ),
    (["TextForTupleOfLines"], "E042", "`lines.watched` is the text 'object_repr'", 'watched = ("object_repr",).'),
    (["FarFetched"], "E042", "no column 'date'", "Name concrete fields of the model: id, password, last_login, "),
    (["Misordered"], "E042", "`newest_first` names '-date_join'", "Did you mean '-date_joined'?"),
    (["MisspeltDate"], "E042", "`dated_by` names 'date_join'", "Did you mean 'date_joined'?"),
    (["StoredElsewhere"], "E042", "`store_field` names 'usernam'", "Did you mean 'username'?"),
    (["Misdated"], "E042", "`dated_by` names 'username'", "Name a date of the model: last_login, date_joined."),
    (["FarFromOrdered"], "E042", "`newest_first` names '-placed_at'", "Name fields of the model: id, "),
    (
        ["TextForOrder"],
        "E042",
        "`newest_first` is the text",
        'Write a tuple: newest_first = ("-date_joined",).',
    ),
    (["Reverse"], "E042", "no column 'logentry'", "concrete fields"),
    (["ManyToMany"], "E042", "no column 'groups'", "concrete fields"),
    (["BadTransitionField"], "E042", "no column 'stat'", "concrete fields"),
    (["ListTransitions"], "E042", "values are lists or objects", "publish the topic yourself"),
    (["BadTopic"], "E045", "'order.payed' is not in the catalogue", "Did you mean 'order.paid'?"),
    (["BringsNoName"], "E045", "`topics` can't be used", "'Gift' is not a valid topic"),
    (["BringsNoSentence"], "E045", "`topics` can't be used", "Describe 'order.gift_wrapped' in a sentence"),
    (["FarFromTopics"], "E045", "'order.foo' is not in the catalogue", "Add your own topics"),
    (["WrongKey"], "E041", "leads to contenttypes.ContentType, not to auth.User", "Did you mean 'user'?"),
    (["NoKey"], "E041", "leads to nothing", "Did you mean 'user'?"),
    (["GhostLines"], "E042", "no column 'colour'", "concrete fields"),
    (["OwnLines"], "E041", "leads to nothing", "foreign key"),
    (["Wordless"], "E043", "nor payload()", "FieldPayload("),
    (["Misfit"], "E044", "does not fit its schema(): name: is int, not string", "one of them"),
    (["NotJson"], "E044", "raises TypeError", "Fix its schema() or example()"),
    (["NotSchema"], "E044", "the schema has the type 'text'", "Fix its schema()"),
    (["RaisingExample"], "E044", "raises KeyError: 'total'", "Fix its schema()"),
]


def use(settings: Any, names: list[str]) -> None:
    paths = [name if "." in name else HERE + name for name in names]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths}


def found() -> list[tuple[str | None, str, str | None]]:
    return [(one.id, one.msg, one.hint) for one in run_checks() if (one.id or "").startswith("orderhooks")]


@pytest.mark.parametrize(("names", "check_id", "words", "remedy"), STATIC, ids=lambda one: str(one)[:40])
def test_a_fault_of_a_source_is_an_error_with_its_remedy(
    settings, caplog, names: list[str], check_id: str, words: str, remedy: str
) -> None:
    use(settings, names)
    assert any(
        one == f"orderhooks.{check_id}" and words in msg and remedy in (hint or "") for one, msg, hint in found()
    ), found()
    # A web server runs no checks: it says so when it starts, and starts.
    with caplog.at_level(logging.ERROR, logger="orderhooks"):
        source_trials.log_faults()
    assert words in caplog.text
    assert remedy in caplog.text


def test_sources_that_are_right_have_no_faults(settings, caplog) -> None:
    for names in (["Users"], ["Users", "orderhooks.sources.BuiltInOrders"]):
        use(settings, names)
        assert found() == []
    source_trials.log_faults()
    assert caplog.text == ""


@pytest.mark.parametrize("given", [[], None, 3, {"SOURCES": 3}, {"SOURCES": [3]}, {"SOURCES": None}, {"TOPICS": 3}])
def test_a_setting_of_another_shape_raises_nothing_at_start(settings, given: Any) -> None:
    settings.ORDERHOOKS = given
    source_trials.log_faults()


def test_a_module_that_raises_is_reported_too(settings, tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_shop.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("broken_shop")
    use(settings, ["broken_shop.Orders"])
    [(check_id, msg, hint)] = found()
    assert check_id == "orderhooks.E048"
    assert "Its module raises ZeroDivisionError: division by zero." in msg
    assert hint == "Fix the module."


@isolate_apps("orderhooks")
def test_keys_that_cannot_be_kept_are_refused(monkeypatch) -> None:
    class Long(models.Model):
        code = models.CharField(primary_key=True, max_length=1000)

        class Meta:
            app_label = "orderhooks"

    monkeypatch.setattr(Users, "get_model", lambda _self: Long)
    [fault] = running.run("shop.Orders", Users(), static.STATIC[:3])
    assert "may have 1000 characters" in fault.text


class BadNumber(BuiltInOrders):
    def number(self, order: Any) -> Any:
        return order.pk


class LongNumber(BuiltInOrders):
    def number(self, order: Any) -> str:
        return "9" * 1000


class Lost(BuiltInOrders):
    def fetch(self, order_pk: str, *, using: str) -> Any:
        return None


class Unordered(BuiltInOrders):
    def newest(self, *, using: str) -> Any:
        return super().newest(using=using).order_by("-ordered_at")

    def find(self, number: str, *, store: str, using: str) -> Any:
        return self.newest(using=using).filter(number=number).first()


class Unfindable(BuiltInOrders):
    def number(self, order: Any) -> str:
        return f"N-{order.number}"


class BadPayload(BuiltInOrders):
    def payload(self, order: Any) -> dict[str, Any]:
        return {**super().payload(order), "total": 12}


class RaisingPayload(BuiltInOrders):
    def payload(self, order: Any) -> dict[str, Any]:
        raise AttributeError("There is no customer.")


class BadQuery(BuiltInOrders):
    def payload(self, order: Any) -> dict[str, Any]:
        User.objects.raw("SELECT * FROM there_is_no_such_table")[0]
        return {}


class BadPresent(BuiltInOrders):
    def present(self, order: Any, field: str, value: Any) -> Any:
        return object() if field == "total" else super().present(order, field, value)


class BadLines(BuiltInOrders):
    def present(self, order: Any, field: str, value: Any) -> Any:
        if field == "lines.sku":
            raise KeyError("nothing")
        return value


LIVE = [
    ("BadPresent", "E046", "raises TypeError: Object of type object is not JSON", "Fix its present() or its reading"),
    ("BadLines", "E046", "raises KeyError: 'nothing'", "Fix its present() or"),
    ("BadNumber", "E046", "number() of its newest order returns", "Return str"),
    ("LongNumber", "E046", "returns 1000 characters", "Return at most"),
    ("Lost", "E046", "fetch() does not find its newest order", "Let fetch()"),
    ("Unordered", "E046", "Its newest() raises FieldError", "Fix its newest()"),
    ("Unfindable", "W047", "by its number", "Override find() together"),
    ("BadPayload", "E046", "total: is int, not string", "one of them"),
    ("RaisingPayload", "E046", "raises AttributeError: There is no customer.", "Fix its payload()"),
    ("BadQuery", "E046", "there_is_no_such_table", "Fix its payload()"),
]


@pytest.mark.parametrize(("name", "check_id", "words", "remedy"), LIVE)
def test_what_goes_wrong_with_the_newest_order_is_reported_by_check_and_doctor(
    settings, name: str, check_id: str, words: str, remedy: str
) -> None:
    use(settings, [name])
    if name != "Unordered":
        assert checks.check_sources_at_work(databases=["default"]) == [], "there is no order yet"
    make_order()
    [message] = checks.check_sources_at_work(databases=["default"])
    assert message.id == f"orderhooks.{check_id}"
    assert words in message.msg
    assert not message.msg.endswith("..")
    assert remedy in (message.hint or "")
    assert checks.check_sources_at_work() == [], "only where the database is asked"
    finding, *_levels = [one for one in doctor.examine() if one.what == "sources"]
    assert (finding.level, words in finding.text) == ("fail" if check_id[0] == "E" else "warn", True)


def test_an_order_that_can_be_read_and_published_is_fine() -> None:
    make_order()
    assert checks.check_sources_at_work(databases=["default"]) == []


def test_migrate_is_not_refused_for_what_it_is_about_to_bring(settings, monkeypatch) -> None:
    make_order()
    use(settings, ["RaisingPayload"])
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda _self, _targets: ["one"])
    assert checks.check_sources_at_work(databases=["default"]) == []
    finding, *_levels = [one for one in doctor.examine() if one.what == "sources"]
    assert "manage.py migrate" in finding.text
