"""Settings of the test suite. Which database and broker comes from the environment: see `make tests`."""

import os
from typing import Any

import django

SECRET_KEY = "a key for tests alone"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "drf_spectacular_sidecar",
    "rest_framework",
    "django_q",
    "orderhooks",
    "tests.shapes",
]
# An admin theme to test with: unfold, jazzmin or grappelli. See `make themes`.
if theme := os.environ.get("TEST_ADMIN_THEME"):
    INSTALLED_APPS.insert(0, theme)
MIDDLEWARE = [
    "tests.policies.strict",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Quick to make and to check: what is tested is who may log in, not how long a guess takes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
if DATABASE == "mariadb":
    import pymysql

    pymysql.install_as_MySQLdb()

# Tests' databases are named by the process, so that several may run side by side.
_test_database = {"NAME": f"test_orderhooks_{os.getpid()}"}
# TEST_PREPARED=1: as docs/how-to/deploy.md recommends for speed, with each statement prepared at its first run.
_prepared = {"server_side_binding": True, "prepare_threshold": 0} if os.environ.get("TEST_PREPARED") else {}
_databases: dict[str, dict[str, Any]] = {
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("TEST_POSTGRES_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_POSTGRES_USER", "postgres"),
        "NAME": os.environ.get("TEST_DATABASE_NAME", "postgres"),
        "CONN_MAX_AGE": 60,
        # No test needs what it wrote to survive a crash of the server.
        "OPTIONS": {"options": "-c synchronous_commit=off", **_prepared},
        "TEST": _test_database,
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "HOST": os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_MARIADB_USER", "root"),
        "NAME": os.environ.get("TEST_DATABASE_NAME", "mysql"),
        "CONN_MAX_AGE": 60,
        "TEST": {**_test_database, "CHARSET": "utf8mb4", "COLLATION": "utf8mb4_unicode_ci"},
    },
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_DATABASE_NAME", ":memory:"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    },
}
DATABASES = {"default": _databases[DATABASE]}

# Since Django 6.1; before it, EMAIL_BACKEND. Tests of mail use both: tests/test_mail_settings.py.
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

if os.environ.get("TEST_DATABASE") == "postgres":
    INSTALLED_APPS.append("django.contrib.postgres")  # for the arrays of tests.shapes

Q_CLUSTER: dict[str, Any] = {
    # In Redis, processes that share the tests have a queue each, and so do their children.
    "name": f"orderhooks-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}",
    "workers": 2,
    "timeout": 60,
    "retry": 90,
    "save_limit": -1,
    "catch_up": False,
}
if redis_url := os.environ.get("TEST_REDIS_URL"):
    Q_CLUSTER["redis"] = redis_url
else:
    Q_CLUSTER["orm"] = "default"

# No lingering: a pump that is called in a test returns as soon as nothing is due.
# TEST_IN_WORKER=1: a worker makes the events; tests/conftest.py has one do so after each commit.
ORDERHOOKS = {
    "REQUIRE_HTTPS": False,
    "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
    "LINGER_SECONDS": 0,
    "COALESCE_IN_WORKER": bool(os.environ.get("TEST_IN_WORKER")),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
