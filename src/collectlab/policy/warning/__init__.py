"""Early warning: who will fall past due, or roll to a worse bucket, next month, and what acting on it is worth.

>>> from collectlab.policy.warning import fit_warning, rolling, warning_list, warning_rows
>>> rows = warning_rows(book)                                                             # doctest: +SKIP
>>> rolling(rows, forbidden=["gender", "age"])                                            # doctest: +SKIP
>>> warning_list(rows, fit_warning(rows, forbidden=["gender", "age"]))                    # doctest: +SKIP
"""

from collectlab.policy.warning.assumed import Acting, WarningParams, load_warning
from collectlab.policy.warning.fairness import fairness
from collectlab.policy.warning.listing import WarningList, warning_list
from collectlab.policy.warning.model import Drivers, WarningModel, fit_warning, usable
from collectlab.policy.warning.rows import warning_rows
from collectlab.policy.warning.validate import Validation, rolling
from collectlab.policy.warning.value import Loss, Value, loss_of_event, value_of_acting

__all__ = [
    "Acting",
    "Drivers",
    "Loss",
    "Validation",
    "Value",
    "WarningList",
    "WarningModel",
    "WarningParams",
    "fairness",
    "fit_warning",
    "load_warning",
    "loss_of_event",
    "rolling",
    "usable",
    "value_of_acting",
    "warning_list",
    "warning_rows",
]
