"""The image networks of the papers, one file each; every one takes an activation factory, as all tasks' models do.

BatchNorm has its trained scale (affine) everywhere: without it a function's own scale could not be made up for
[Ramachandran2017, section 6].
"""
