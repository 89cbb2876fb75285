"""`python -m gpt_demo`."""

from gpt_demo.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
