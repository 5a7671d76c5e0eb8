"""`python3 -m parcel` is the `parcel` command."""

import sys

from parcel.cli import main

if __name__ == "__main__":
    sys.exit(main())
