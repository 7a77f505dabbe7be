"""`python -m xai_bench` is `xai-bench`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the current folder first, and a module there would run without `allow`.
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).resolve().parents[1]:
        del sys.path[0]
    from xai_bench.cli import main

    main()
