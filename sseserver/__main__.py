"""`python -m sseserver` is the same program as `sseserver`."""

import sys

from sseserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
