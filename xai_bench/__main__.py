"""`python -m xai_bench` is `xai-bench`."""

from xai_bench.cli import main

if __name__ == "__main__":
    main()
