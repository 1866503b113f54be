"""Settings of the benchmarks. BENCH_DATABASE names the database of a child process: see `databases`."""

import json
import os
from typing import Any

SECRET_KEY = "a key for benchmarks alone"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_q", "orderhooks"]
VENDOR, _, NAME = os.environ.get("BENCH_DATABASE", "sqlite::memory:").partition(":")
_databases: dict[str, dict[str, Any]] = {
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("BENCH_POSTGRES_HOST", "127.0.0.1"),
        "USER": os.environ.get("BENCH_POSTGRES_USER", "postgres"),
        # docs/how-to/deploy.md recommends {"server_side_binding": true, "prepare_threshold": 5}.
        "OPTIONS": json.loads(os.environ.get("BENCH_POSTGRES_OPTIONS", "{}")),
    },
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    },
}
DATABASES = {"default": {**_databases[VENDOR], "NAME": NAME, "CONN_MAX_AGE": 600}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER = {
    "name": "orderhooks-benchmarks",
    "orm": "default",
    "workers": int(os.environ.get("BENCH_WORKERS", "1")),
    "timeout": 600,
    "retry": 900,
    "save_limit": -1,
    "log_level": "WARNING",
}
ORDERHOOKS = {
    "REQUIRE_HTTPS": False,
    "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
    "SWEEP": False,
    **json.loads(os.environ.get("BENCH_ORDERHOOKS", "{}")),
}
