"""Settings of both peers' projects."""

import os

SECRET_KEY = "a key for benchmarks alone"
USE_TZ = True
DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("BENCH_POSTGRES_HOST", "127.0.0.1"),
        "USER": os.environ.get("BENCH_POSTGRES_USER", "postgres"),
        "NAME": os.environ["BENCH_DATABASE"],
        # A connection for each request, which is Django's default, would hold them up more.
        "CONN_MAX_AGE": 600,
    }
}
