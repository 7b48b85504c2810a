// From what was typed of the installed system to `setup`; what is wrong goes as it was typed.

import type { Schemas } from "../../lib/api";
import type { Fields, Tag } from "./fields";

/** A user of the installed system, as it was typed. */
export interface Account {
  name: string;
  sshKeys: string;
  sudo: string;
  groups: string;
  hash: string;
}

type NewSetup = Schemas["NewSetup"];
type Ansible = NonNullable<NewSetup["ansible"]>;

/** `setup`; nothing where the task says nothing of it. */
export function setupOf(fields: Fields): NewSetup | undefined {
  const { rootHash, timezone, locale, userData } = fields;
  const users = fields.users.map(userOf);
  const packages = fields.packages.split(/[\s,]+/).filter(Boolean);
  const secrets = Object.fromEntries(fields.secrets.filter(isGiven).map(pair));
  const ansible = ansibleOf(fields);
  const puppet = puppetOf(fields);
  const setup: NewSetup = {
    ...(users.length ? { users } : {}),
    ...(rootHash.trim() ? { root_password_hash: rootHash.trim() } : {}),
    ...(packages.length ? { packages } : {}),
    ...(fields.commands.trim() ? { commands: [fields.commands] } : {}),
    ...(Object.keys(secrets).length ? { secrets } : {}),
    ...(userData.trim() ? { cloud_init: { user_data: userData } } : {}),
    ...(ansible ? { ansible } : {}),
    ...(puppet ? { puppet } : {}),
    ...(timezone.trim() ? { timezone: timezone.trim() } : {}),
    ...(locale.trim() ? { locale: locale.trim() } : {}),
  };
  return Object.keys(setup).length ? setup : undefined;
}

/** Whether something stands in the fields that must not be kept. */
export function hasSecrets(fields: Fields): boolean {
  const hashes = [fields.rootHash, ...fields.users.map(({ hash }) => hash)];
  return [...hashes, ...fields.secrets.map(({ value }) => value)].some((text) => text !== "");
}

/** The fields without it. */
export function withoutSecrets(fields: Fields): Fields {
  return {
    ...fields,
    rootHash: "",
    users: fields.users.map((user) => ({ ...user, hash: "" })),
    secrets: fields.secrets.map(({ key }) => ({ key, value: "" })),
  };
}

/** The words for what is run at the first boot, or nothing. */
export function hooksOf(fields: Fields): string {
  const hooks = [
    fields.userData.trim() && "cloud-init",
    fields.ansibleRepository.trim() && "Ansible",
    fields.puppetServer.trim() && "Puppet",
  ].filter(Boolean);
  return hooks.join(", ");
}

function userOf({ name, sshKeys, sudo, groups, hash }: Account): NonNullable<NewSetup["users"]>[0] {
  const keys = sshKeys
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
  const names = groups.split(/[\s,]+/).filter(Boolean);
  return {
    name: name.trim(),
    ...(keys.length ? { ssh_keys: keys } : {}),
    ...(sudo ? { sudo: sudo as "nopasswd" } : {}),
    ...(names.length ? { groups: names } : {}),
    ...(hash.trim() ? { password_hash: hash.trim() } : {}),
  };
}

function ansibleOf(fields: Fields): Ansible | undefined {
  const repository = fields.ansibleRepository.trim();
  const { ansiblePlaybook, ansibleBranch, ansibleInventory, ansibleVariables } = fields;
  const texts = [ansiblePlaybook, ansibleBranch, ansibleInventory];
  const variables = ansibleVariables.filter(isGiven);
  if (!repository && !texts.some((text) => text.trim()) && !variables.length) return undefined;
  return {
    repository,
    ...(ansiblePlaybook.trim() ? { playbook: ansiblePlaybook.trim() } : {}),
    ...(ansibleBranch.trim() ? { branch: ansibleBranch.trim() } : {}),
    ...(ansibleInventory.trim() ? { inventory: ansibleInventory.trim() } : {}),
    ...(variables.length ? { variables: Object.fromEntries(variables.map(pair)) } : {}),
  };
}

function puppetOf(fields: Fields): NewSetup["puppet"] | undefined {
  const [server, environment, certname] = [
    fields.puppetServer.trim(),
    fields.puppetEnvironment.trim(),
    fields.puppetCertname.trim(),
  ];
  if (!server && !environment && !certname) return undefined;
  return {
    server,
    ...(environment ? { environment } : {}),
    ...(certname ? { certname } : {}),
  };
}

function isGiven({ key, value }: Tag): boolean {
  return key.trim() !== "" || value !== "";
}

function pair({ key, value }: Tag): [string, string] {
  return [key.trim(), value];
}
