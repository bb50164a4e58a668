"""What the documentation site generates from the code: formulas, catalogue, command line, interface."""
