"""``python -m dlngeo``: the command line."""

import sys

from dlngeo.app.cli import main

sys.exit(main())
