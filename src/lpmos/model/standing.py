"""Who of a data center's regional clients answers machines: the one rule, as a table (F1, F2).

The rule: at most one serves. Who leads the election serves, unless the client before it still
answers machines. Who has lost its leadership goes on where nobody else can have taken over: all
others have promised not to serve, or there is no other. Who has promised serves on no ground.
"""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    """What a regional client is: it answers machines, or is ready to."""

    ACTIVE = "active"
    STANDBY = "standby"


class Ground(StrEnum):
    """On what a client serves: it leads, all others have promised not to, or there is no other."""

    LEASE = "lease"
    PROMISE = "promise"
    ALONE = "alone"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a regional client knows at one moment.

    `leads`: its leadership surely lives. `serving`: it answers machines, and was never so long
    without a turn that its right to had ended. `store_answers`: at the last question. `alone`:
    nobody else stood for election when it led last and the store answered, or an operator says that
    all others are off. `other_leads`: another stands before it. `predecessor_answers`: machines get
    answers from another client. `holds`: unexpired promises of all others. `promised`: it gave one.
    """

    leads: bool = False
    serving: bool = False
    store_answers: bool = True
    alone: bool = False
    other_leads: bool = False
    predecessor_answers: bool = False
    holds: bool = False
    promised: bool = False


def ground(view: View) -> Ground | None:
    """On what the client may serve; None where it may not.

    A client that is cut off from the store goes on with the promises of the others, which they give
    only where they see no store either: else one of them is elected. Where it is the only one, an
    outage of the store alone stops no machine. One that comes anew meanwhile, and is elected,
    leaves the machines to the one that still answers them. To begin on promises is for the time
    without the store only: where it answers, it elects.
    """
    if view.promised or (view.predecessor_answers and not view.serving):
        return None
    if view.leads:
        return Ground.LEASE
    if view.holds and (view.serving or not view.store_answers):
        return Ground.PROMISE
    goes_on = view.serving and not view.other_leads
    return Ground.ALONE if view.alone and (goes_on or not view.store_answers) else None


def standing(view: View) -> Standing:
    """What the client has to be."""
    return Standing.ACTIVE if ground(view) else Standing.STANDBY
