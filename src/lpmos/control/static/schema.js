// Shows the OpenAPI description: operations, their fields and answers, and the types.

import { byId, element } from "./page.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** A schema as a few words; a named type is a link to its place on the page. */
function words(schema) {
  if (!schema) return ["nothing"];
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [element("a", { href: `#type-${name}` }, name)];
  }
  const choices = schema.oneOf || schema.anyOf;
  if (choices) return choices.flatMap((each, place) => (place ? [" or ", ...words(each)] : words(each)));
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(" | ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...words(schema.items)];
  if (schema.additionalProperties) return ["map to ", ...words(schema.additionalProperties)];
  const bounds = ["minimum", "maximum"].filter((key) => key in schema).map((key) => `${key} ${schema[key]}`);
  return [[[].concat(schema.type || "anything").join(" or "), schema.format, ...bounds].filter(Boolean).join(", ")];
}

function table(rows) {
  const body = element("tbody");
  for (const [name, kind, note] of rows) {
    body.append(element("tr", {}, element("td", { className: "mono" }, name), element("td", {}, ...kind), element("td", { className: "muted small" }, note || "")));
  }
  return element("table", {}, body);
}

function content(part) {
  return words(Object.values(part?.content || {})[0]?.schema);
}

function operation(method, path, described) {
  const rows = (described.parameters || []).map((each) => [each.name, words(each.schema), `in ${each.in}${each.required ? ", needed" : ""}`]);
  if (described.requestBody) rows.push(["body", content(described.requestBody), ""]);
  const answers = Object.entries(described.responses || {}).map(([status, answer]) => [status, content(answer), answer.description]);
  return element(
    "details",
    { className: "card operation" },
    element(
      "summary",
      {},
      element("span", { className: "method", data: { method } }, method.toUpperCase()),
      element("span", { className: "mono" }, path),
      element("span", { className: "muted" }, described.description || described.summary || ""),
    ),
    rows.length ? element("div", {}, element("h3", {}, "Takes"), table(rows)) : null,
    element("h3", {}, "Answers"),
    table(answers),
  );
}

const answer = await fetch("/schema/openapi.json");
if (answer.status === 401) location.assign("/login");
const schema = await answer.json();
byId("title").textContent = `${schema.info.title} API ${schema.info.version}`;
byId("description").textContent = `${schema.info.description} Send a token as “Authorization: Bearer …”.`;
for (const [path, item] of Object.entries(schema.paths)) {
  for (const method of METHODS) {
    if (item[method]) byId("operations").append(operation(method, path, item[method]));
  }
}
for (const [name, type] of Object.entries(schema.components.schemas || {})) {
  const needed = new Set(type.required || []);
  const rows = Object.entries(type.properties || {}).map(([field, kind]) => [field, words(kind), needed.has(field) ? "needed" : ""]);
  byId("types").append(
    element("details", { className: "card operation", id: `type-${name}` },
      element("summary", {}, element("b", { className: "mono" }, name), element("span", { className: "muted" }, type.description || "")),
      rows.length ? table(rows) : element("p", {}, ...words(type))),
  );
}
window.addEventListener("hashchange", () => {
  const place = byId(decodeURIComponent(location.hash.slice(1)));
  if (place) place.open = true;
});
