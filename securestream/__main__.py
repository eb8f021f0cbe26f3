"""``python -m securestream`` is the command ``securestream``."""

import sys

from securestream.cli import main

sys.exit(main())
