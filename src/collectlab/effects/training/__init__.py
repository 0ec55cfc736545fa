"""Performance by team and agent, what of it is real, and the short list of who would gain from what training."""

from collectlab.effects.training.drivers import agent_drivers
from collectlab.effects.training.needs import TrainingNeeds, training_needs
from collectlab.effects.training.performance import performance

__all__ = ["TrainingNeeds", "agent_drivers", "performance", "training_needs"]
