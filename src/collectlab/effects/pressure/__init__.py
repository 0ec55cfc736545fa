"""Pressure: what one more contact does to cure, payment and complaint, and where it stops paying."""

from collectlab.effects.pressure.dose import DoseResponse, dose_response
from collectlab.effects.pressure.marginal import Stops, marginal, where_it_stops
from collectlab.effects.pressure.randomised import randomised

__all__ = ["DoseResponse", "Stops", "dose_response", "marginal", "randomised", "where_it_stops"]
