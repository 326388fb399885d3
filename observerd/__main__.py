"""python -m observerd"""

import sys

from observerd.cli import main

if __name__ == "__main__":
    sys.exit(main())
