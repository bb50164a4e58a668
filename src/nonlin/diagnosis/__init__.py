"""Looking into activations and networks.

health      the card of one function: signals, gradients, shape, precision, cost
diagnose    a network on one batch, layer by layer
Recorder    the same over the steps of a training
lesson      what goes wrong in deep networks, shown with numbers
"""

from nonlin.diagnosis.card import HealthCard, health
from nonlin.diagnosis.child import ChildDiagnosis, diagnose_task
from nonlin.diagnosis.diagnosis import QUANTITIES, ActivationLayer, Diagnosis, WeightLayer, diagnose
from nonlin.diagnosis.layers import activation_layers
from nonlin.diagnosis.lessons import LESSONS, Finding, Lesson, lesson
from nonlin.diagnosis.measures import Distribution
from nonlin.diagnosis.recorder import Record, Recorder

__all__ = [
    "LESSONS",
    "QUANTITIES",
    "ActivationLayer",
    "ChildDiagnosis",
    "Diagnosis",
    "Distribution",
    "Finding",
    "HealthCard",
    "Lesson",
    "Record",
    "Recorder",
    "WeightLayer",
    "activation_layers",
    "diagnose",
    "diagnose_task",
    "health",
    "lesson",
]
