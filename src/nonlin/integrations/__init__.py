"""Other libraries: nonlin's activations in their models, configs and searches.

One file for each library, which is imported only when it is used: without it the error names what to install.
"""
