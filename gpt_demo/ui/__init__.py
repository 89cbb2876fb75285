"""The page: a viewer of models and runs. No tensor math, no optimizer, no loss."""

from gpt_demo.ui.page import build_app
from gpt_demo.ui.reach import check_port, is_public, said_at_start
from gpt_demo.ui.theme import launch_options

__all__ = ["build_app", "check_port", "is_public", "launch_options", "said_at_start"]
