"""``python -m edge_infer COMMAND``: the same as ``edge-infer COMMAND``."""

import sys

from edge_infer.cli import main

if __name__ == "__main__":
    sys.exit(main())
