"""``python -m fastlsgd`` is the command ``fastlsgd``."""

from .cli import main

if __name__ == "__main__":
    main()
