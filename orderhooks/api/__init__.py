"""The REST API; the only place that knows Django REST Framework. Mount it with `include("orderhooks.api.urls")`."""
