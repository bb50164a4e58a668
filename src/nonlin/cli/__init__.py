"""The command line: one file per verb; each parses, calls one public function, and prints.

Exit codes: 0 fine, 2 bad input (one message, no traceback), 1 anything else.
"""

from nonlin.cli.app import main

__all__ = ["main"]
