// Where the reader is: the page's address, which holds all that a link to it should show.

class Router {
  path = $state(location.pathname);
  #query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener("popstate", () => this.#read());
    document.addEventListener("click", (event) => this.#follow(event));
  }

  /** The parameters of the address. */
  get query(): URLSearchParams {
    return this.#query;
  }

  /** Go to another page, as a link does. */
  go(address: string): void {
    history.pushState(null, "", address);
    this.#read();
    scrollTo(0, 0);
  }

  /** Change parameters of the address, without a step in the history; empty ones leave it. */
  set(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.#query);
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    history.replaceState(null, "", text ? `${this.path}?${text}` : this.path);
    this.#query = query;
  }

  #read(): void {
    this.path = location.pathname;
    this.#query = new URLSearchParams(location.search);
  }

  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin)
      return;
    if (!isOwn(link.pathname)) return;
    event.preventDefault();
    this.go(link.pathname + link.search + link.hash);
  }
}

const ELSEWHERE = ["/api/", "/schema", "/static/", "/login", "/health", "/metrics"];

function isOwn(path: string): boolean {
  return !ELSEWHERE.some((each) => path.startsWith(each));
}

/** The parts of `path` that `pattern` names (`/tasks/:id`), or null where it is another. */
export function matched(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const parts: Record<string, string> = {};
  for (const [place, part] of wanted.entries()) {
    const value = given[place] ?? "";
    if (part.startsWith(":")) {
      if (!value) return null;
      try {
        parts[part.slice(1)] = decodeURIComponent(value);
      } catch {
        return null;
      }
    } else if (part !== value) return null;
  }
  return parts;
}

export const router = new Router();
