"""The page: a viewer of models and runs. No tensor math, no optimizer, no loss."""

from gpt_demo.ui.page import build_app
from gpt_demo.ui.services import is_public
from gpt_demo.ui.theme import launch_options

__all__ = ["build_app", "is_public", "launch_options"]
