"""The state of a live voice conversation, as an observable.

::

    audio      ──►  updates  ──►  store  ──►  derived  ──►  display, persistence,
    providers       pure          the one     events,       replication, handlers,
    commands        functions     value       metrics       speaker, provider

A *signal* is what a source says; an *update* is a named pure change of the state; a *transition* is one commit; an
*event* is derived from a transition. Data moves only to the right; what goes back is a command, and enters on the
left.
"""

from __future__ import annotations

from voxrx.manager import StateManager
from voxrx.records import *
