"""Roll rates and what follows from them: matrices, the chain they make, and vintages."""

from __future__ import annotations

from collectlab.measures.roll_chain import FlowThrough, Projection, flow_through, project
from collectlab.measures.roll_count import ABSORBING
from collectlab.measures.roll_matrix import RollRates, roll_rates
from collectlab.measures.roll_order import FirstOrderCheck, first_order_check
from collectlab.measures.roll_vintages import Vintages, vintage

__all__ = [
    "ABSORBING",
    "FirstOrderCheck",
    "FlowThrough",
    "Projection",
    "RollRates",
    "Vintages",
    "first_order_check",
    "flow_through",
    "project",
    "roll_rates",
    "vintage",
]
