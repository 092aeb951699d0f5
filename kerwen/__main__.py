"""`python -m kerwen`."""

from kerwen.cli import main

if __name__ == "__main__":
    main()
