"""What ships: the wheel works in a clean environment set up as the README says, and the README is true of the code."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command

import orderhooks
from orderhooks import catalogue, conf, receiver, signing

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()
REQUEST = (PROJECT / "docs" / "reference" / "request.md").read_text()

BARE_SETTINGS = """
from pathlib import Path
SECRET_KEY = "a key for this test alone"
USE_TZ = True
ROOT_URLCONF = "shop_urls"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
STATIC_URL = "/static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("shop.sqlite3")}}
"""
BARE_URLS = """
from django.contrib import admin
from django.urls import path
urlpatterns = [path("admin/", admin.site.urls)]
"""
TRY_OUT = """
from pathlib import Path
import django
django.setup()
import orderhooks
from django.template.loader import get_template
from django.urls import reverse
from orderhooks.models import Event, Order, Subscription

home = Path(orderhooks.__file__).parent
assert "site-packages" in home.parts, home
for template in sorted(path for path in (home / "templates").rglob("*") if path.is_file()):
    get_template(template.relative_to(home / "templates").as_posix())
reverse("orderhooks:order-list"), reverse("admin:orderhooks_delivery_changelist")
Subscription.create_with_secret(name="CRM", url="https://crm.example.com/webhooks", topics=["order.*"])
Order().save()
print(Event.objects.get().topic)
"""


def readme_blocks(title: str) -> str:
    """The code blocks of the README that begin with that comment, as one text, without their indentation."""
    blocks = re.findall(rf"^( *)```python\n( *# {re.escape(title)}\n.*?)^ *```", README, re.DOTALL | re.MULTILINE)
    assert blocks, f"The README has no block for {title}."
    return "".join(re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks)


def request_block(kind: str) -> str:
    """The first block of that kind in the reference of the request."""
    found = re.search(rf"```{kind}\n(.*?)```", REQUEST, re.DOTALL)
    assert found, f"docs/reference/request.md has no block of {kind}."
    return found[1]


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run it away from this process's settings and paths; its output, or a failure that shows it."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def package_index(tmp_path: Path) -> None:
    """Skip where pip reaches no index: building and installing need one."""
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "10"]
    done = subprocess.run(
        [*probe, "--dest", tmp_path / "probe", "sqlparse"], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        pytest.skip(f"pip reaches no package index: {done.stderr.strip()[-200:]}")


@pytest.mark.slow
def test_the_wheel_works_in_a_clean_environment_set_up_as_the_readme_says(tmp_path, package_index):
    source, dist, shop = tmp_path / "source", tmp_path / "dist", tmp_path / "shop"
    # A copy, so that the build leaves nothing in the checkout and finds nothing there that a clone would not have.
    unclean = shutil.ignore_patterns(".*", "var", "build", "dist", "node_modules", "*.egg-info", "__pycache__")
    shutil.copytree(PROJECT, source, ignore=unclean)
    expected = {path.relative_to(source).as_posix() for path in (source / "orderhooks").rglob("*") if path.is_file()}
    run(sys.executable, "-m", "build", "--outdir", dist, source, cwd=tmp_path)

    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert {path for path in shipped if ".dist-info/" not in path} == expected
    assert {"orderhooks/py.typed", "orderhooks/migrations/0001_initial.py"} <= shipped
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert expected | {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml"} <= sources
    assert {"tests/test_package.py", "tests/settings.py", "example_project/manage.py"} <= sources

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    shop.mkdir()
    sqlite = re.search(r"With SQLite also `(DATABASES.*?)`", README)
    assert sqlite, "The README no longer says what SQLite needs."
    (shop / "shop_settings.py").write_text(f"{BARE_SETTINGS}\n{readme_blocks('settings.py')}\n{sqlite[1]}\n")
    (shop / "shop_urls.py").write_text(f"{BARE_URLS}\n{readme_blocks('urls.py')}")
    django = {"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": str(shop)}
    admin = [python, "-m", "django"]
    run(*admin, "check", "--database", "default", "--fail-level", "WARNING", cwd=shop, **django)
    run(*admin, "migrate", "--verbosity", "0", cwd=shop, **django)
    assert run(python, "-c", TRY_OUT, cwd=shop, **django).strip() == "order.created"


@pytest.mark.django_db
def test_no_migration_is_missing(capsys):
    try:
        call_command("makemigrations", "orderhooks", check=True, dry_run=True, verbosity=1)
    except SystemExit:
        pytest.fail(f"Run `makemigrations orderhooks`:\n{capsys.readouterr().out}")


def test_every_setting_is_documented_with_its_default():
    settings = (PROJECT / "docs" / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \|", settings, re.MULTILINE)
    defaults = {name: getattr(conf.Settings(), field) for name, field in conf.KEYS.items()}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}

    assert {name: ast.literal_eval(value) for name, value in rows} == plain
    assert [name for name, _ in rows] == list(conf.KEYS), "They are listed in the order of conf.Settings."


def test_the_architecture_lists_every_module():
    text = (PROJECT / "docs" / "architecture.md").read_text()
    modules = {path.stem for path in (PROJECT / "orderhooks").glob("*.py")} - {"__init__"}
    folders = {f"{path.parent.name}/" for path in (PROJECT / "orderhooks").glob("*/__init__.py")} - {"migrations/"}
    listed = re.findall(r"`([a-z_]+/?)`", text.partition("## Modules")[2].partition("Statements for PostgreSQL")[0])

    assert sorted(listed) == sorted(modules | folders)


def test_the_request_in_the_reference_carries_a_true_signature():
    headers: dict[str, str] = dict(re.findall(r"^(\S+): (.*)$", request_block("http"), re.MULTILINE))
    sent = json.dumps(json.loads(request_block("json")), ensure_ascii=False, separators=(",", ":")).encode()

    event = receiver.verify(
        sent, headers, "whsec_T3JkZXJIb29rc0V4YW1wbGVTZWNyZXQh", now=float(headers["webhook-timestamp"])
    )

    assert headers["user-agent"] == f"orderhooks/{orderhooks.__version__}"
    assert (event.id, event.topic) == (headers["webhook-id"], headers["webhook-topic"])
    schemas = {entry.name: dict(entry.schema) for entry in catalogue.entries()}
    jsonschema.validate(json.loads(sent), schemas[event.topic])
    assert event.order.payments[0].received_at == event.order.paid_at
    assert event.order.fulfillments[0].lines[0].line == event.order.lines[0].id


@pytest.mark.django_db
def test_the_receiver_in_the_readme_works(rf, monkeypatch, capsys):
    secret = signing.generate_secret()
    monkeypatch.setenv("SHOP_WEBHOOK_SECRET", secret)
    monkeypatch.setattr("time.time", lambda: 1_795_428_000)
    names: dict[str, Any] = {}
    exec(readme_blocks("receivers.py"), names)
    body = request_block("json").encode()
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1795428000",
        "webhook-signature": signing.signature_header([secret], "evt_1", 1_795_428_000, body),
    }

    answers = [names["orders"](rf.post("/", body, "application/json", headers=headers)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 200]
    assert capsys.readouterr().out == "order.paid 1001 24.80 ada@example.com\n"


def test_the_changelog_has_a_section_for_what_comes_next():
    assert "\n## Unreleased\n" in (PROJECT / "CHANGELOG.md").read_text()
