// The form of a new task: what was typed, what is wrong with it, and the document that it makes.
//
// What can be seen here is said as it is typed; the API is asked all the same and has the last
// word. What it says of a field stands there until the field is changed.

import type { FieldError, Schemas } from "../../lib/api";
import { newKey } from "../../lib/key";
import { check } from "./checks";
import { newTask, ofReport } from "./document";
import { forget, keep, kept } from "./draft";
import { Fields, placeOf, type Name } from "./fields";
import { isUnfinishedMac, readMac } from "./mac";
import { hasSecrets, setupOf, withoutSecrets } from "./setup";

const DRAFT = "create";
/** Fields of which an error names a part, and what stands before its name. */
const WITHIN: Partial<Record<Name, RegExp>> = {
  tags: /^.*tags\.?/,
  users: /^.*setup\.users\.?/,
  packages: /^.*setup\.packages\.?/,
  commands: /^.*setup\.?/,
  secrets: /^.*setup\.secrets\.?/,
  ansibleVariables: /^.*variables\.?/,
  links: /^.*network_config\.?/,
  partitions: /^.*disk_layout\.partitions\.?/,
  layout: /^.*disk_layout\.?/,
};

interface Refusal {
  readonly value: string;
  readonly message: string;
}
interface Draft {
  readonly fields: Partial<Fields>;
  readonly sent: { readonly body: string; readonly key: string } | null;
}

export class TaskForm {
  fields = $state<Fields>({ ...new Fields() });
  /** What the API said that belongs to no field. */
  elsewhere = $state<readonly string[]>([]);
  /** Whether it was there from an earlier visit. */
  restored = $state(false);
  #left = $state<Partial<Record<Name, boolean>>>({});
  #refused = $state.raw<Partial<Record<Name, Refusal>>>({});
  #sent: { readonly body: string; readonly key: string } | null = null;

  /** What was kept, but what an address names is as it says. */
  constructor(given: Partial<Fields>) {
    const draft = kept<Draft>(DRAFT);
    const same = (name: Name): boolean => !given[name] || draft?.fields?.[name] === given[name];
    if (draft?.fields && same("mac") && same("sn")) {
      Object.assign(this.fields, draft.fields);
      this.#sent = draft.sent ?? null;
      this.restored = this.isTouched();
    }
    Object.assign(this.fields, given);
  }

  /** Whether somebody typed something. */
  isTouched(): boolean {
    const { mac, sn, hostname, sshKeys, serial, address, notes, tags } = this.fields;
    const texts = [mac, sn, hostname, sshKeys, serial, address, notes];
    if (setupOf(this.fields)) return true;
    return texts.some(Boolean) || tags.length > 0 || this.fields.partitions.length > 0;
  }

  /** Keep what is there now in this tab, but for secrets and the body that they stand in. */
  keep(): void {
    const fields = $state.snapshot(this.fields);
    const sent = fields.passphrase || hasSecrets(fields) ? null : this.#sent;
    keep(DRAFT, { fields: { ...withoutSecrets(fields), passphrase: "" }, sent });
  }

  /** Begin anew, or leave: it was sent. */
  clear(): void {
    forget(DRAFT);
    const { idc, system } = this.fields;
    this.fields = { ...new Fields(), idc, system };
    this.#left = {};
    this.#refused = {};
    this.#sent = null;
    this.elsewhere = [];
    this.restored = false;
  }

  /** The reader is done with this field: what is wrong with it is said now. */
  leave(name: Name): void {
    this.#left[name] = true;
  }

  /** What is wrong with a field, or nothing. */
  wrong(name: Name): string {
    const own = check(this.fields, name);
    if (own && (this.#left[name] || (name === "mac" && !isUnfinishedMac(this.fields.mac)))) {
      return own;
    }
    const refused = this.#refused[name];
    return refused?.value === this.#text(name) ? refused.message : "";
  }

  /** The address of the NIC as it is stored, or nothing. */
  get mac(): string {
    return readMac(this.fields.mac).value;
  }

  /** Whether something must not leave this page. */
  get hasSecret(): boolean {
    return /PRIVATE KEY/i.test(this.fields.sshKeys);
  }

  /** Put what the API said to its fields. */
  refuse(errors: readonly FieldError[]): void {
    const refused: Partial<Record<Name, Refusal>> = {};
    const elsewhere: string[] = [];
    for (const { field, message } of errors) {
      const name = placeOf(field);
      if (!name) {
        elsewhere.push(`${field}: ${message}`);
        continue;
      }
      const said = name in WITHIN ? `${field.replace(WITHIN[name] ?? "", "")} ${message}` : message;
      const before = refused[name];
      refused[name] = {
        value: this.#text(name),
        message: before ? `${before.message}; ${said}` : said,
      };
    }
    this.#refused = refused;
    this.elsewhere = elsewhere;
    for (const name of Object.keys(new Fields()) as Name[]) this.leave(name);
  }

  /** The key of the call with this body: the same as long as the body is the same. */
  keyOf(body: object): string {
    const text = JSON.stringify(body);
    if (this.#sent?.body !== text) this.#sent = { body: text, key: newKey() };
    this.keep();
    return this.#sent.key;
  }

  /** What `POST /tasks` takes; what is wrong goes as it was typed, for the API to say so. */
  document(): Schemas["NewTask"] {
    return newTask(this.fields);
  }

  /** The same without what a report of the machine says already. */
  ofReport(): Schemas["TaskOfReport"] {
    return ofReport(this.fields);
  }

  #text(name: Name): string {
    return JSON.stringify(this.fields[name]);
  }
}
