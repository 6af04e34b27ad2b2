"""Holds what alerts from outside last said: the strategy of the webhooks, which decides nothing by itself."""

from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Params, Strategy


@dataclass(frozen=True, slots=True)
class OutsideAlertsParams(Params):
    """It has none: direction, stop and profit target come with each alert."""


class OutsideAlerts(Strategy):
    """Hold what the last alert asked for, within size, window, risk and square-off of its file; without one be flat."""

    params_type = OutsideAlertsParams
    by_alert: ClassVar[bool] = True
