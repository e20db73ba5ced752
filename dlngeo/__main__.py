"""``python -m dlngeo``: the command line."""

import sys

from dlngeo.cli import main

sys.exit(main())
