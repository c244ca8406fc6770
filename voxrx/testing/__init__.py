"""What users test their own pipelines with: time that stands still until it is told to go on."""

from __future__ import annotations

from voxrx.clock import VirtualClock

__all__ = ("VirtualClock",)
