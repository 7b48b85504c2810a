// Shows the OpenAPI description: every call with what it takes, examples, and how it can end.
//
// A call is drawn when it is opened first. All text goes in as text; the little markup that the
// description has (paragraphs, lists, `code`, **strong**) is taken apart here.

import { byId, element } from "./page.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const BOUNDS = {
  pattern: (value) => `like ${value}`,
  minLength: (value) => `at least ${value} characters`,
  maxLength: (value) => `at most ${value} characters`,
  minItems: (value) => `at least ${value}`,
  maxItems: (value) => `at most ${value}`,
  maxProperties: (value) => `at most ${value}`,
  minimum: (value) => `from ${value}`,
  maximum: (value) => `to ${value}`,
  default: (value) => (value === null || typeof value === "object" ? "" : `default ${JSON.stringify(value)}`),
};

let schema;

const named = (ref) => ref.split("/").pop();
const followed = (part) => (part?.$ref?.startsWith("#/components/responses/") ? schema.components.responses[named(part.$ref)] : part);

/** A text with `code` and **strong** in it, as nodes. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 1) return element("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return element("strong", {}, ...inline(part.slice(2, -2)));
    return part;
  });
}

/** A text of paragraphs and lists, as nodes. */
function prose(text) {
  const made = [];
  for (const block of (text || "").trim().split(/\n\n+/)) {
    if (block.startsWith("- ")) {
      const items = block.split(/\n(?=- )/).map((item) => element("li", {}, ...inline(item.slice(2).replace(/\n/g, " "))));
      made.push(element("ul", {}, ...items));
    } else if (block) made.push(element("p", {}, ...inline(block.replace(/\n/g, " "))));
  }
  return made;
}

/** A type in a few words; one with a name is a link to its place on the page. */
function words(kind) {
  if (!kind) return ["nothing"];
  if (kind.$ref) return [element("a", { href: `#type-${named(kind.$ref)}` }, named(kind.$ref))];
  const choices = kind.anyOf || (kind.properties ? null : kind.oneOf);
  if (choices && !kind.properties) return choices.flatMap((each, place) => (place ? [" | ", ...words(each)] : words(each)));
  if (kind.enum) return [kind.enum.map((each) => JSON.stringify(each)).join(" | ")];
  if ("const" in kind) return [JSON.stringify(kind.const)];
  if (kind.type === "array") return ["list of ", ...words(kind.items)];
  if (kind.type === "object" && kind.additionalProperties) return ["map to ", ...words(kind.additionalProperties)];
  return [[[].concat(kind.type || "anything").join(" | "), kind.format && `(${kind.format})`].filter(Boolean).join(" ")];
}

/** What a type's values must keep to, beyond the type. */
function bounds(kind) {
  const parts = [kind, ...(kind?.anyOf || [])].filter(Boolean);
  const said = parts.flatMap((part) => Object.entries(BOUNDS).filter(([key]) => key in part).map(([key, write]) => write(part[key])));
  return [...new Set(said.filter(Boolean))].join(" · ");
}

function fields(rows) {
  const body = element("tbody");
  for (const { name, needed, kind, text, where } of rows) {
    const limits = bounds(kind);
    body.append(
      element("tr", {},
        element("td", {}, element("b", {}, name), needed ? element("span", { className: "needed" }, "needed") : null,
          where ? element("div", { className: "muted small" }, where) : null),
        element("td", {}, element("span", { className: "kind" }, ...words(kind)),
          text ? element("div", { className: "prose" }, ...inline(text)) : null,
          limits ? element("span", { className: "bounds" }, limits) : null)),
    );
  }
  return element("table", { className: "fields" }, body);
}

/** The fields of a type that has some, else the type in words; what is `sent` says what it needs. */
function shape(kind, sent = true) {
  const type = kind?.$ref ? schema.components.schemas[named(kind.$ref)] : kind;
  if (!type?.properties) return element("p", { className: "mono" }, ...words(kind));
  const needed = new Set(type.required || []);
  const rows = Object.entries(type.properties).map(([name, each]) => ({ name, needed: sent && needed.has(name), kind: each, text: each.description || each.anyOf?.[0]?.description }));
  return element("div", {}, kind.$ref ? element("p", { className: "small" }, ...words(kind)) : null, fields(rows));
}

function copied(text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return element("div", { className: "copied" }, element("pre", {}, text), navigator.clipboard ? button : null);
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The call as a command for a shell, with the examples of its parameters and its body. */
function command(method, path, described, type, value) {
  const filled = (described.parameters || []).filter((each) => each.in === "path" && each.schema.examples).reduce((sofar, each) => sofar.replace(`{${each.name}}`, each.schema.examples[0]), path);
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}"${location.origin}${filled}"`];
  if (!described.security) lines.push('-H "Authorization: Bearer $TOKEN"');
  if (type) lines.push(`-H 'Content-Type: ${type}'`);
  if (value !== undefined) lines.push(`--data-binary ${quoted(typeof value === "string" ? value : JSON.stringify(value))}`);
  return lines.join(" \\\n  ");
}

function takes(method, path, described) {
  const made = [];
  for (const [type, body] of Object.entries(described.requestBody?.content || {})) {
    made.push(element("h3", {}, "Body ", element("span", { className: "muted small" }, type)), shape(body.schema));
    for (const [name, example] of Object.entries(body.examples || {})) {
      made.push(
        element("details", { className: "end" }, element("summary", {}, `Example: ${name}`),
          copied(written(example.value)), copied(command(method, path, described, type, example.value))),
      );
    }
  }
  return made;
}

function end(status, answer) {
  const inside = [];
  for (const [name, header] of Object.entries(answer.headers || {})) {
    inside.push(element("p", { className: "small" }, element("code", {}, name), " ", ...inline(header.description)));
  }
  for (const body of Object.values(answer.content || {})) {
    inside.push(shape(body.schema, false));
    if ("example" in body) inside.push(copied(written(body.example)));
  }
  const links = Object.keys(answer.links || {});
  if (links.length) {
    inside.push(element("p", { className: "small" }, "Goes on with ", ...links.flatMap((each, place) => [place ? ", " : "", element("a", { href: `#${each}` }, each)])));
  }
  return element("details", { className: "end", data: { refused: Number(status) >= 400 } },
    element("summary", {}, element("span", { className: "status" }, status), element("span", {}, ...inline(answer.description))),
    ...inside);
}

function inside(method, path, described) {
  const rows = (described.parameters || []).map((each) => ({ name: each.name, needed: each.required, kind: each.schema, text: each.description, where: each.in }));
  const ends = Object.entries(described.responses).map(([status, answer]) => end(status, followed(answer)));
  return element("div", { className: "inside" },
    element("div", { className: "prose" }, ...prose(described.description)),
    ...(rows.length ? [element("h3", {}, "Parameters"), fields(rows)] : []),
    ...takes(method, path, described),
    ...(described.requestBody ? [] : [element("h3", {}, "Command"), copied(command(method, path, described))]),
    element("h3", {}, "Answers"), ...ends);
}

/** An element that is filled when it is opened first. */
function folded(properties, summary, fill) {
  const made = element("details", properties, summary);
  made.addEventListener("toggle", () => {
    if (made.open && made.children.length === 1) made.append(fill());
  });
  return made;
}

function operation(method, path, described) {
  const made = folded({ className: "card call", id: described.operationId },
    element("summary", {},
      element("span", { className: "method", data: { method } }, method.toUpperCase()),
      element("span", { className: "path" }, path),
      element("span", { className: "said" }, ...inline(described.summary))),
    () => inside(method, path, described));
  made.words = `${method} ${path} ${described.operationId} ${described.summary} ${described.description}`.toLowerCase();
  return made;
}

function draw() {
  byId("title").textContent = `${schema.info.title} API ${schema.info.version}`;
  byId("overview").append(...prose(schema.info.summary), ...prose(schema.info.description));
  const calls = Object.entries(schema.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => [method, path, item[method]]));
  for (const tag of schema.tags) {
    const own = calls.filter(([, , described]) => described.tags.includes(tag.name));
    const id = `tag-${tag.name.replaceAll(" ", "-")}`;
    byId("tags").append(element("a", { href: `#${id}` }, tag.name, element("span", {}, String(own.length))));
    byId("operations").append(element("section", { className: "tag", id }, element("h2", {}, tag.name), element("p", {}, ...inline(tag.description)), ...own.map((each) => operation(...each))));
  }
  byId("tags").append(element("a", { href: "#types-section" }, "types", element("span", {}, String(Object.keys(schema.components.schemas).length))));
  for (const [name, type] of Object.entries(schema.components.schemas)) {
    byId("types").append(
      folded({ className: "card call", id: `type-${name}` },
        element("summary", {}, element("span"), element("span", { className: "path" }, name), element("span", { className: "said" }, ...inline((type.description || "").split("\n\n")[0]))),
        () => element("div", { className: "inside" }, element("div", { className: "prose" }, ...prose(type.description)), shape(type))),
    );
  }
}

/** Show the calls that have every word in their path, name or text. */
function find() {
  const wanted = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const section of document.querySelectorAll(".tag")) {
    let here = 0;
    for (const call of section.querySelectorAll(".call")) {
      call.hidden = !wanted.every((word) => call.words.includes(word));
      here += call.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    found += here;
  }
  byId("types-section").hidden = wanted.length > 0;
  byId("none").hidden = found > 0;
}

/** Open what the address names, and go there. */
function go() {
  const place = byId(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  if (place.tagName === "DETAILS") place.open = true;
  place.scrollIntoView();
}

const answer = await fetch("/schema/openapi.json");
if (answer.status === 401) location.assign("/login");
schema = await answer.json();
draw();
byId("find").addEventListener("input", find);
if (byId("find").value) find(); // typed while the description was on its way
window.addEventListener("hashchange", go);
go();
