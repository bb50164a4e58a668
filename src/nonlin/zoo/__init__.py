"""Known activations by name: the catalogue, the user's own, and naming what is already known."""

from nonlin.zoo.activation import Activation
from nonlin.zoo.catalogue import Entry, activation, entry, load_file, names, register, shipped

__all__ = ["Activation", "Entry", "activation", "entry", "load_file", "names", "register", "shipped"]
