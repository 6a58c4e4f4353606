"""`python -m batchmill`: the command line."""

from batchmill.cli.entry import main

if __name__ == "__main__":
    main()
