"""`python -m nonlin`."""

from nonlin.cli import main

if __name__ == "__main__":
    main()
