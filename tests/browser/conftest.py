"""A shop for a browser: a database of its own, a server, a worker that delivers, and chromium on loopback alone."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from orderhooks import tasks
from tests.browser.visiting import PASSWORD, Visit
from tests.factories import make_user

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name is looked up, whatever a page requests.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
ON_A_FILE = django_settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"].endswith("sqlite3")

# Milliseconds. Redoc lays out 40,000 elements, on two cores that eight processes share.
PATIENCE = 120_000

expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All are slow. On a server, their database is that of all tests, and emptied after each."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
            if not ON_A_FILE:
                item.add_marker(pytest.mark.django_db(transaction=True))


@contextmanager
def _in_place_of_the_default(file: Path) -> Iterator[None]:
    """Every thread that connects meanwhile is connected to the file."""
    options = connections.settings[DEFAULT_DB_ALIAS]
    former_name, former = options["NAME"], connections[DEFAULT_DB_ALIAS]
    options["NAME"] = str(file)
    connections[DEFAULT_DB_ALIAS] = connections.create_connection(DEFAULT_DB_ALIAS)
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
        options["NAME"] = former_name
        connections[DEFAULT_DB_ALIAS] = former
        ContentType.objects.clear_cache()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any) -> Path:
    file = tmp_path_factory.mktemp("shop") / "empty.sqlite3"
    with django_db_blocker.unblock(), _in_place_of_the_default(file):
        with connection.cursor() as cursor:
            # Kept in the file: readers wait for no writer.
            cursor.execute("PRAGMA journal_mode=WAL")
        call_command("migrate", run_syncdb=True, verbosity=0)
    return file


@pytest.fixture
def database(
    request: pytest.FixtureRequest, chromium: Browser, tmp_path: Path, django_db_blocker: Any
) -> Iterator[None]:
    """Committed rows that the server's and the worker's threads see. SQLite in memory has one writer and no waiting."""
    if not ON_A_FILE:
        yield
        return
    file = tmp_path / "shop.sqlite3"
    shutil.copy(request.getfixturevalue("migrated_file"), file)
    with django_db_blocker.unblock(), _in_place_of_the_default(file):
        yield


@pytest.fixture(scope="session")
def server(django_db_setup: None) -> Iterator[str]:
    """Each request connects to the database that is in place then."""
    thread = LiveServerThread("127.0.0.1", static_handler=StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    yield f"http://127.0.0.1:{thread.port}"
    thread.terminate()


@pytest.fixture
def worker(database: None, in_a_thread: Callable[..., threading.Thread]) -> Iterator[None]:
    """Delivers what is due, until the test is over."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            tasks.pump()

    in_a_thread(work)
    yield
    over.set()


@pytest.fixture(scope="package")
def chromium(service: Callable[[str], None]) -> Iterator[Browser]:
    """For these tests only: Playwright's loop, as long as it runs, has Django refuse the database in this thread."""
    if CHROMIUM is None:
        service("chromium is not installed (apt-get install chromium)")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "yes")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
        # The loop has connections of its own.
        connections.close_all()


@pytest.fixture
def new_page(chromium: Browser, database: None, server: str) -> Iterator[Callable[..., Page]]:
    """Pages of new visitors; keywords are Playwright's for a context. What the browser complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def only_loopback(request: Request) -> None:
        # It gets nowhere, by the browser's own arguments. To stop it here, at a route, would put the cache out of use.
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            complaints.append(f"a page asked for {request.url}")

    def complain(message: ConsoleMessage) -> None:
        # The browser asks each server for an icon, and those of the tests have none.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    def new(**options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options}
        context = chromium.new_context(base_url=server, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.on("request", only_loopback)
        context.on("console", complain)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        return context.new_page()

    yield new
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def visit(new_page: Callable[..., Page]) -> Callable[..., Visit]:
    """`visit(user)`: a visitor who has logged in by the form, or by default an operator who may do all."""

    def log_in(user: User | None = None, **options: Any) -> Visit:
        user = user or make_user(is_staff=True, is_superuser=True)
        user.set_password(PASSWORD)
        user.save()
        visitor = Visit(new_page(**options), user)
        visitor.log_in()
        return visitor

    return log_in


@pytest.fixture
def operator(visit: Callable[..., Visit]) -> Visit:
    return visit()
