"""Names, passwords and what is asked for of users: what passes, what is refused, and how."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.access import Role
from lpmos.model.errors import InvalidInput
from lpmos.model.user import (
    ApiToken,
    ExternalIdentity,
    KeyToken,
    NewApiToken,
    NewUser,
    Session,
    UserChange,
    check_new_api_token,
    check_new_user,
    check_user_change,
    digest,
    new_id,
    normalised,
    ordered,
    parse_user_name,
    password_problems,
)
from tests.support.builders import NOW, make_user

PASSWORD = "correct horse battery"


@pytest.mark.parametrize("name", ["a", "alice", "alice.miller@example.org", "0x", "a+b_c-d"])
def test_parse_user_name_that_can_be_one_is_kept(name: str) -> None:
    assert parse_user_name(name) == name


def test_parse_user_name_typed_otherwise_is_written_in_the_one_way() -> None:
    assert parse_user_name("  Alice ") == "alice"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "a/b", "a b", "a\n", "ä", "a" * 65, "system", "a:b", "a\x00"]
)
def test_check_new_user_with_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_new_user(NewUser(name=name, roles=(Role.VIEWER,)))
    assert [problem.field for problem in caught.value.problems] == ["name"]


@given(st.text(max_size=80))
def test_parse_user_name_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = parse_user_name(text)
    except InvalidInput:
        return
    assert parse_user_name(name) == name
    assert name.isascii() and "/" not in name and name.strip() == name


@pytest.mark.parametrize(
    ("password", "wrong"),
    [
        ("x" * 11, True),
        ("x" * 12, False),
        ("x" * 128, False),
        ("x" * 129, True),
        ("alicealicealice", True),
        ("ALICE alice ALICE", True),
        ("alice and her horse", False),
        ("pässwörter sind gut", False),
        ("\ud800" * 12, True),
    ],
)
def test_password_problems_are_found(password: str, wrong: bool) -> None:
    problems = password_problems(password, "alice")
    assert bool(problems) is wrong
    assert all(password not in problem.message for problem in problems)


def test_check_new_user_names_every_wrong_field_and_no_password() -> None:
    new = NewUser(
        name="A", roles=(Role.VIEWER,), password="short", tenant="NO", display_name="x\x07"
    )
    with pytest.raises(InvalidInput) as caught:
        check_new_user(new)
    fields = {problem.field for problem in caught.value.problems}
    assert fields == {"name", "password", "tenant", "display_name"}
    assert "short" not in str(caught.value)


def test_check_user_change_of_nothing_passes() -> None:
    assert check_user_change(UserChange()) == UserChange()


def test_user_change_tells_no_tenant_from_none_given() -> None:
    given_none = msgspec.json.decode(b'{"tenant": null}', type=UserChange)
    assert given_none.tenant is None
    assert UserChange().tenant is msgspec.UNSET


def test_check_user_change_with_a_wrong_tenant_is_refused() -> None:
    with pytest.raises(InvalidInput, match="tenant"):
        check_user_change(UserChange(tenant="No Such"))


@pytest.mark.parametrize("name", ["   ", "a\nb"])
def test_check_new_api_token_with_a_name_nobody_can_read_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        check_new_api_token(NewApiToken(name=name))


@pytest.mark.parametrize("body", [b'{"name":"a","lifetime_days":0}', b'{"name":"a","roles":[]}'])
def test_new_api_token_out_of_bounds_is_refused_by_its_type(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=NewApiToken)


def test_normalised_password_is_the_same_however_it_was_composed() -> None:
    assert normalised("Zu\u0308rich") == normalised("Z\u00fcrich")


def test_ordered_has_each_role_once() -> None:
    assert ordered((Role.ADMIN, Role.VIEWER, Role.ADMIN)) == (Role.VIEWER, Role.ADMIN)


def test_new_id_is_never_the_same() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


def test_external_id_is_of_issuer_and_subject_not_of_the_name() -> None:
    one = ExternalIdentity(issuer="https://i", subject="1", name="a", roles=(Role.VIEWER,))
    renamed = msgspec.structs.replace(one, name="b")
    assert one.external_id == renamed.external_id
    assert one.external_id != msgspec.structs.replace(one, subject="2").external_id


def test_audited_documents_hold_nothing_secret() -> None:
    secret = digest("secret")
    user = make_user(password_hash=secret, generation=secret)
    session = Session(
        user="alice", created_at=NOW, expires_at=NOW, refresh_sha256=secret, generation=secret
    )
    token = ApiToken(
        user="alice",
        user_id="1",
        name="ci",
        roles=(Role.VIEWER,),
        sha256=secret,
        created_at=NOW,
        expires_at=NOW,
    )
    key_token = KeyToken(subject="ops", roles=(Role.ADMIN,), expires_at=NOW)
    for document in (user, session, token, key_token):
        text = msgspec.json.encode(document.audited()).decode()
        assert secret not in text
