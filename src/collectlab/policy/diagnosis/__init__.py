"""Why a target is missed: from each gap to its measured causes, and what could not be explained."""

from collectlab.policy.diagnosis.diagnose import diagnose
from collectlab.policy.diagnosis.result import Diagnosis

__all__ = ["Diagnosis", "diagnose"]
