import { expect, test } from "vitest";

import { newTask } from "./document";
import { Fields, placeOf } from "./fields";
import { hasSecrets, hooksOf, setupOf, withoutSecrets } from "./setup";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me";
const FILLED: Fields = {
  ...new Fields(),
  users: [
    {
      name: " alice ",
      sshKeys: `# mine\n${KEY}\n`,
      sudo: "nopasswd",
      groups: "adm, web",
      hash: "$6$x",
    },
    { name: "bob", sshKeys: "", sudo: "", groups: "", hash: "" },
  ],
  rootHash: " $6$y ",
  packages: "nginx, git\n curl",
  commands: "set -x\nid\n",
  secrets: [
    { key: "TOKEN", value: " keep the space" },
    { key: "", value: "" },
  ],
  userData: "#cloud-config\na: 1\n",
  ansibleRepository: "https://git.example.net/a.git",
  ansibleBranch: "main",
  ansibleVariables: [{ key: "role", value: "web" }],
  puppetServer: "puppet.example.net",
  timezone: "Europe/Berlin",
};

test("a form without a setup sends none", () => {
  expect(setupOf(new Fields())).toBeUndefined();
  expect("setup" in newTask(new Fields())).toBe(false);
});

test("what was typed is the setup", () => {
  expect(newTask(FILLED).setup).toEqual({
    users: [
      {
        name: "alice",
        ssh_keys: [KEY],
        sudo: "nopasswd",
        groups: ["adm", "web"],
        password_hash: "$6$x",
      },
      { name: "bob" },
    ],
    root_password_hash: "$6$y",
    packages: ["nginx", "git", "curl"],
    commands: ["set -x\nid\n"],
    secrets: { TOKEN: " keep the space" },
    cloud_init: { user_data: "#cloud-config\na: 1\n" },
    ansible: {
      repository: "https://git.example.net/a.git",
      branch: "main",
      variables: { role: "web" },
    },
    puppet: { server: "puppet.example.net" },
    timezone: "Europe/Berlin",
  });
  expect(hooksOf(FILLED)).toBe("cloud-init, Ansible, Puppet");
});

test("a half of a hook is sent, for the API to say what is missing", () => {
  const fields = { ...new Fields(), ansibleBranch: "main", puppetEnvironment: "test" };
  expect(setupOf(fields)).toEqual({
    ansible: { repository: "", branch: "main" },
    puppet: { server: "", environment: "test" },
  });
});

test("what is kept of a form has none of its secrets", () => {
  expect(hasSecrets(FILLED)).toBe(true);
  const kept = withoutSecrets(FILLED);
  expect(hasSecrets(kept)).toBe(false);
  expect(JSON.stringify(kept)).not.toMatch(/\$6\$|keep the space/);
  expect(kept.secrets[0]?.key).toBe("TOKEN");
});

test.each([
  ["setup.users.0.password_hash", "users"],
  ["setup.packages.3", "packages"],
  ["setup.commands.0", "commands"],
  ["setup.secrets.PATH", "secrets"],
  ["setup.cloud_init.user_data", "userData"],
  ["setup.ansible.repository", "ansibleRepository"],
  ["setup.ansible.variables.a b", "ansibleVariables"],
  ["setup.puppet.certname", "puppetCertname"],
  ["setup", "commands"],
])("an error at %s stands at %s", (field, name) => {
  expect(placeOf(field)).toBe(name);
  expect(placeOf(`create.${field}`)).toBe(name);
});
