"""``python -m learnscope`` is the command ``learnscope``."""

from learnscope.cli import main

if __name__ == "__main__":
    main()
