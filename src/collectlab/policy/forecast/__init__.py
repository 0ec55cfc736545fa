"""What the next months will bring: delinquency, charge-offs and money recovered, with intervals and a record."""

from collectlab.policy.forecast.backtest import Backtest, backtest
from collectlab.policy.forecast.history import History, history
from collectlab.policy.forecast.record import Record, last_forecast
from collectlab.policy.forecast.result import Forecast, forecast

__all__ = ["Backtest", "Forecast", "History", "Record", "backtest", "forecast", "history", "last_forecast"]
