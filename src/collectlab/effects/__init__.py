"""What the strategy caused."""

from collectlab.effects.experiment import ExperimentResult, experiment, experiment_frame

__all__ = ["ExperimentResult", "experiment", "experiment_frame"]
