"""What the claims of an identity provider give here, and that nothing is given without them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.config import OidcConfig
from lpmos.control.oidc.claims import claim, vouched
from lpmos.model.access import Role

ROLES = (("admins", Role.ADMIN), ("noc", Role.OPERATOR), ("noc", Role.APPROVER))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def config(**fields: Any) -> OidcConfig:
    known: dict[str, Any] = {"issuer": "https://i", "client_id": "c", "roles": ROLES}
    return OidcConfig(**(known | fields))


def claims(**said: object) -> dict[str, Any]:
    return {"sub": "1", "preferred_username": "alice", "groups": ["noc"]} | said


def test_every_role_of_every_group_is_given() -> None:
    who = vouched(claims(groups=["admins", "noc", "staff"], name="Alice\nMiller"), config())
    assert set(who.identity.roles) == {Role.ADMIN, Role.OPERATOR, Role.APPROVER}
    assert (who.identity.name, who.identity.display_name) == ("alice", "AliceMiller")
    assert (who.identity.tenant, who.lacking) == (None, None)


def test_one_group_may_be_said_as_text() -> None:
    assert vouched(claims(groups="admins"), config()).identity.roles == (Role.ADMIN,)


@pytest.mark.parametrize(
    "groups", [None, [], "", "NOC", ["noc "], ["admin"], {"noc": True}, 1, [["noc"]], "admins,noc"]
)
def test_group_that_is_not_mapped_gives_nothing(groups: object) -> None:
    who = vouched(claims(groups=groups), config())
    assert who.identity.roles == ()
    assert who.lacking is not None and "groups" in who.lacking


def test_claim_within_a_claim_is_found_by_dots_and_one_with_dots_by_its_name() -> None:
    said = claims(realm_access={"roles": ["noc"]}) | {"https://i.example/roles": ["admins"]}
    inner = vouched(said, config(roles_claim="realm_access.roles")).identity.roles
    assert set(inner) == {Role.OPERATOR, Role.APPROVER}
    exact = vouched(said, config(roles_claim="https://i.example/roles")).identity.roles
    assert exact == (Role.ADMIN,)
    assert claim(said, "realm_access.roles.more") is None


@pytest.mark.parametrize(("said", "tenant"), [("acme", "acme"), (["acme"], "acme"), ("*", None)])
def test_tenant_is_what_the_claim_says(said: object, tenant: str | None) -> None:
    who = vouched(claims(tenant=said), config(tenant_claim="tenant"))
    assert (who.identity.tenant, who.lacking) == (tenant, None)
    assert who.identity.roles


@pytest.mark.parametrize("said", [None, "", [], ["acme", "globex"], "Acme", 1, "a" * 33])
def test_tenant_that_is_not_said_clearly_gives_nothing(said: object) -> None:
    who = vouched(claims(tenant=said), config(tenant_claim="tenant"))
    assert (who.identity.roles, who.identity.tenant) == ((), None)
    assert who.lacking is not None and "tenant" in who.lacking


@given(
    st.dictionaries(st.sampled_from(["groups", "preferred_username", "tenant", "name"]), ANYTHING)
)
def test_whatever_is_said_gives_mapped_roles_or_a_reason(said: dict[str, Any]) -> None:
    who = vouched({"sub": "1", **said}, config(tenant_claim="tenant"))
    assert set(who.identity.roles) <= {role for _, role in ROLES}
    assert bool(who.identity.roles) == (who.lacking is None)
    assert who.lacking is None or who.lacking.isprintable()
    assert who.identity.display_name == "" or who.identity.display_name.isprintable()
