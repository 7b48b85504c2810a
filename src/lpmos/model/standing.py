"""Who of a data center's regional clients answers machines: the one rule, as a table (F1, F2).

The rule: at most one serves. Who leads the election serves, unless the client before it still
answers machines; who has lost its leadership goes on only where nobody else can have taken over.
"""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    """What a regional client is: it answers machines, or is ready to."""

    ACTIVE = "active"
    STANDBY = "standby"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a regional client knows at one moment.

    `leads`: its leadership surely lives. `serving`: it answers machines, and was never so long
    without a turn that its right to had ended. `store_answers`: at the last question. `alone`:
    nobody else stood for election when it led last and the store answered. `other_leads`: another
    stands before it. `predecessor_answers`: machines get answers from another client.
    """

    leads: bool = False
    serving: bool = False
    store_answers: bool = True
    alone: bool = False
    other_leads: bool = False
    predecessor_answers: bool = False


def standing(view: View) -> Standing:
    """What the client has to be.

    A client that is cut off from the store stands down where a standby is there to take over, and
    goes on where it is the only one: an outage of the store alone stops no machine. One that
    comes anew meanwhile, and is elected, leaves the machines to the one that still answers them.
    """
    if not view.serving and view.predecessor_answers:
        return Standing.STANDBY
    if view.leads:
        return Standing.ACTIVE
    if not view.store_answers:
        return Standing.ACTIVE if view.alone else Standing.STANDBY
    goes_on = view.serving and view.alone and not view.other_leads
    return Standing.ACTIVE if goes_on else Standing.STANDBY
