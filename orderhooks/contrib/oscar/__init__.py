"""Orders of django-oscar. A shop names `orderhooks.contrib.oscar.OscarOrders` in ORDERHOOKS["SOURCES"]."""

from orderhooks.contrib.oscar.source import OscarOrders

__all__ = ["OscarOrders"]
