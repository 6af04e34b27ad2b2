"""`from icici_client import ICICIAPIClient`, as ICICI scripts have it; the class lives in brokers/icici."""

from brokers.icici import ICICIAPIClient

__all__ = ["ICICIAPIClient"]
