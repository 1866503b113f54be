"""Settings of the benchmarks. What one of them needs beside these, it overrides where it runs."""

SECRET_KEY = "a key for benchmarks alone"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_q", "orderhooks"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER = {"name": "orderhooks-benchmarks", "orm": "default", "timeout": 60, "retry": 90, "save_limit": -1}
ORDERHOOKS = {"REQUIRE_HTTPS": False, "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"], "SWEEP": False}
