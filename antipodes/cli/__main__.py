"""``python -m antipodes.cli``, the same as ``antipodes``."""

from antipodes.cli import main

main()
