"""Run the command line: `python -m lending`."""

import sys

from lending.cli import main

sys.exit(main())
