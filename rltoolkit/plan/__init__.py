"""What a run needs, worked out before anything is loaded: ``python -m rltoolkit.plan``."""

from rltoolkit.plan.fit import Machine, Need, Plan, make_plan, require_fit, this_machine

__all__ = ["Machine", "Need", "Plan", "make_plan", "require_fit", "this_machine"]
