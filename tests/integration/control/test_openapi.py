"""The description of the API: valid, whole, and every example in it true."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from lpmos.control.app import create_app
from lpmos.control.http.bodies import CHECK
from lpmos.core.problems import decode_body
from tests.support.control_plane import RunningControlPlane

Described = dict[str, Any]

BYTES = "append_upload"
"""Takes what no example can show in JSON."""

UNSHOWN = {
    "show_liveness",
    "show_metrics",
    "redeliver",
    "download_task_log",
    "download_image_file",
}
"""Answers that are one word, or a text of their own format."""


class Operation(NamedTuple):
    """One call as it is described."""

    path: str
    method: str
    described: Described

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.described["operationId"])


@pytest.fixture
async def description(api: httpx.AsyncClient) -> Described:
    """The whole document."""
    answer = await api.get("/schema/openapi.json")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    document: Described = answer.json()
    return document


def operations(description: Described) -> Iterator[Operation]:
    """Every call."""
    for path, item in description["paths"].items():
        for method, described in item.items():
            yield Operation(path, method, described)


def calls(control_plane: RunningControlPlane) -> dict[str, HTTPRouteHandler]:
    """The handlers of all calls that shall be described, by name."""
    app = create_app(control_plane.services)
    return {
        handler.handler_name: handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.resolve_include_in_schema()
    }


def validated(value: object, schema: Described, description: Described) -> None:
    """Hold a value against a schema of the document."""
    whole = {**schema, "components": description["components"]}
    validator = OAS31Validator(whole, format_checker=oas31_format_checker)
    assert [str(error) for error in validator.iter_errors(value)] == []


def nodes(node: object, path: str = "") -> Iterator[tuple[str, Described]]:
    """Every object of the document with where it is."""
    if isinstance(node, dict):
        yield path, node
        for name, part in node.items():
            yield from nodes(part, f"{path}/{name}")
    elif isinstance(node, list):
        for number, part in enumerate(node):
            yield from nodes(part, f"{path}/{number}")


def test_description_is_openapi_31_by_another_validator(description: Described) -> None:
    assert description["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(description).iter_errors()) == []


def test_description_has_every_call_once(
    description: Described, control_plane: RunningControlPlane
) -> None:
    names = [each.name for each in operations(description)]
    assert sorted(names) == sorted(calls(control_plane))


def test_every_operation_says_what_it_is(description: Described) -> None:
    tags = {tag["name"] for tag in description["tags"] if tag["description"]}
    for each in operations(description):
        assert each.described["summary"], each.name
        assert each.described["description"], each.name
        assert set(each.described["tags"]) <= tags, each.name
        for parameter in each.described.get("parameters", []):
            assert parameter["description"], (each.name, parameter["name"])


def test_public_operations_alone_need_no_token(
    description: Described, control_plane: RunningControlPlane
) -> None:
    assert description["security"] == [{"bearer": []}, {"session": []}]
    public = {name for name, handler in calls(control_plane).items() if handler.opt.get("public")}
    open_to_all = {
        each.name for each in operations(description) if each.described.get("security") == []
    }
    assert open_to_all == public


def test_every_problem_is_a_problem_document_with_its_headers(description: Described) -> None:
    for name, response in description["components"]["responses"].items():
        assert set(response["content"]) == {"application/problem+json"}, name
    responses = description["components"]["responses"]
    assert responses["Problem401"]["headers"]["WWW-Authenticate"]["required"]
    for status in (429, 503):
        assert responses[f"Problem{status}"]["headers"]["Retry-After"]["required"]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("list_tasks", {"200", "401", "403", "422", "429", "500", "503"}),
        ("show_task", {"200", "401", "403", "404", "422", "429", "500", "503"}),
        ("cancel_task", {"204", "401", "403", "404", "409", "412", "422", "429", "500", "503"}),
        ("show_health", {"200"}),
        ("show_readiness", {"200", "503"}),
    ],
)
def test_operation_lists_how_it_can_end(
    description: Described, name: str, statuses: set[str]
) -> None:
    (found,) = (each for each in operations(description) if each.name == name)
    assert set(found.described["responses"]) == statuses


def test_what_is_created_says_where_and_with_which_revision(description: Described) -> None:
    found = {each.name: each.described["responses"] for each in operations(description)}
    made = {"Location", "Lpmos-Revision"}
    assert set(found["create_task"]["201"]["headers"]) == {*made, "Idempotency-Replayed"}
    assert set(found["create_user"]["201"]["headers"]) == {*made, "ETag"}
    assert set(found["show_task"]["200"]["headers"]) == {"ETag", "Lpmos-Revision"}
    assert set(found["show_readiness"]["503"]["headers"]) == {"Retry-After"}


def test_bodies_refuse_unknown_fields_as_the_code_does(description: Described) -> None:
    schemas = description["components"]["schemas"]
    for each in operations(description):
        for body in each.described.get("requestBody", {}).get("content", {}).values():
            name = body["schema"].get("$ref", "").rpartition("/")[2]
            assert not name or schemas[name]["additionalProperties"] is False, each.name


def test_no_schema_allows_anything_by_mistake(description: Described) -> None:
    for path, node in nodes(description):
        for choice in ("oneOf", "anyOf", "allOf"):
            assert {} not in node.get(choice, []), path


def test_every_request_has_examples_that_its_call_takes(
    description: Described, control_plane: RunningControlPlane
) -> None:
    handlers = calls(control_plane)
    for each in operations(description):
        bodies = each.described.get("requestBody", {}).get("content", {})
        for media_type, body in bodies.items():
            if each.name == BYTES:
                continue
            assert body["examples"], each.name
            for example in body["examples"].values():
                validated(example["value"], body["schema"], description)
                field = handlers[each.name].parsed_data_field
                if field is not None:
                    text = httpx.Request("POST", "http://x", json=example["value"]).content
                    decode_body(text, field.annotation, handlers[each.name].opt.get(CHECK))
                else:
                    assert media_type in ("application/json", "text/csv")


async def test_examples_of_many_tasks_are_taken(
    api: httpx.AsyncClient, description: Described
) -> None:
    content = description["paths"]["/api/v1/tasks/bulk"]["post"]["requestBody"]["content"]
    for media_type, body in content.items():
        for example in body["examples"].values():
            value = example["value"]
            sent = {"content": value} if media_type == "text/csv" else {"json": value}
            answer = await api.post(
                "/api/v1/tasks/bulk?dry_run=true", headers={"Content-Type": media_type}, **sent
            )
            assert answer.status_code == 200
            assert answer.json()["counts"] == {"would_create": 2}


def test_every_answer_has_an_example_of_its_shape(description: Described) -> None:
    for each in operations(description):
        for status, response in each.described["responses"].items():
            for body in response.get("content", {}).values():
                assert "example" in body or each.name in UNSHOWN, (each.name, status)
                if "example" in body:
                    validated(body["example"], body["schema"], description)
    for response in description["components"]["responses"].values():
        for body in response["content"].values():
            if "example" in body:
                validated(body["example"], body["schema"], description)


def test_examples_of_parameters_and_fields_are_of_their_shape(description: Described) -> None:
    looked_at = 0
    for path, node in nodes(description):
        if isinstance(examples := node.get("examples"), list) and "properties" not in path[-11:]:
            for example in examples:
                validated(example, node, description)
                looked_at += 1
    assert looked_at > 50


def test_links_name_calls_and_parameters_that_there_are(description: Described) -> None:
    found = {each.name: each.described for each in operations(description)}
    linked = 0
    for each in found.values():
        for response in each["responses"].values():
            for link in response.get("links", {}).values():
                target = found[link["operationId"]]
                names = {parameter["name"] for parameter in target["parameters"]}
                assert set(link["parameters"]) <= names
                linked += 1
    assert linked > 20


async def test_options_names_every_method_of_a_path(
    api: httpx.AsyncClient, description: Described
) -> None:
    for path, item in description["paths"].items():
        url = path.replace("{seq}", "1").replace("{version}", "1")
        answer = await api.options(url.replace("{", "").replace("}", ""))
        assert answer.status_code == 204, path
        expected = {method.upper() for method in item} | {"OPTIONS"}
        assert set(answer.headers["allow"].split(", ")) == expected, path


@pytest.mark.parametrize(
    ("query", "field"),
    [("outcome=null", "outcome"), ("limit=5&limit=6", "limit"), ("from_seq=NULL", "from_seq")],
)
async def test_parameter_that_is_null_or_comes_twice_is_refused(
    api: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await api.get(f"/api/v1/audit?{query}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_null_is_a_text_like_any_other_where_text_is_meant(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/tasks?text=null")).status_code == 200
