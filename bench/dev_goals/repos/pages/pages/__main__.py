"""Run the command line: `python -m pages`."""

import sys

from pages.cli import main

sys.exit(main())
