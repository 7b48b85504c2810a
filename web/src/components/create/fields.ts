// What can be typed in the form of a new task, and what the API calls each of it.

import type { Account } from "./setup";
import type { Chosen, Wish } from "./storage";

/** What links begin with: two cards as one, with a VLAN over them. */
export const LINKS = `{
  "dns": ["192.0.2.53"],
  "links": [
    {"kind": "ethernet", "name": "lan0"},
    {"kind": "ethernet", "name": "lan1", "mac": "52:54:00:00:00:02"},
    {"kind": "bond", "name": "bond0", "members": ["lan0", "lan1"], "mode": "802.3ad"},
    {"kind": "vlan", "name": "vlan10", "over": "bond0", "id": 10,
     "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.1"]}
  ]
}`;

export interface Tag {
  key: string;
  value: string;
}

/** All that can be typed or chosen; texts as they were typed. */
export class Fields {
  idc = "";
  /** The OS and its version with a space between them, which neither has. */
  system = "";
  mac = "";
  sn = "";
  /** "image" or "installer"; empty: the region chooses. */
  method: "" | "image" | "installer" = "";
  hostname = "";
  /** For the installed system's kernel. */
  kernelArguments = "";
  tenant = "";
  /** The name of a layout, or that each part of it is chosen. */
  layout = "auto";
  raid = "";
  diskCount = "";
  /** The disks of a layout over several, where they are chosen one by one. */
  members: readonly Chosen[] = [];
  lvm = false;
  encrypt = false;
  passphrase = "";
  filesystem = "ext4";
  swap = "";
  partitions: Wish[] = [];
  erase = "signatures";
  serial = "";
  wwn = "";
  model = "";
  device = "";
  /** The place that the disk is plugged into, as /dev/disk/by-path names it. */
  path = "";
  minSize = "";
  maxSize = "";
  kind = "";
  overwrite = false;
  network = "dhcp";
  address = "";
  gateway = "";
  dns = "";
  /** The whole of `network_config` as JSON, where it is links. */
  links = LINKS;
  sshKeys = "";
  users: Account[] = [];
  rootHash = "";
  packages = "";
  commands = "";
  secrets: Tag[] = [];
  userData = "";
  ansibleRepository = "";
  ansiblePlaybook = "";
  ansibleBranch = "";
  ansibleInventory = "";
  ansibleVariables: Tag[] = [];
  puppetServer = "";
  puppetEnvironment = "";
  puppetCertname = "";
  timezone = "";
  locale = "";
  tags: Tag[] = [];
  notes = "";
}

export type Name = keyof Fields;

const API_NAMES: Record<string, Name> = {
  region_id: "idc",
  target_mac: "mac",
  os_type: "system",
  os_version: "system",
  disk_layout: "layout",
  "disk_layout.raid": "raid",
  "disk_layout.disks": "diskCount",
  "disk_layout.members": "layout",
  "disk_layout.lvm": "lvm",
  "disk_layout.filesystem": "filesystem",
  "disk_layout.swap_bytes": "swap",
  "disk_layout.erase": "erase",
  disk_passphrase: "passphrase",
  root_disk: "serial",
  "root_disk.serial": "serial",
  "root_disk.wwn": "wwn",
  "root_disk.model": "model",
  "root_disk.device": "device",
  "root_disk.path": "path",
  "root_disk.nvme": "kind",
  "root_disk.min_size_bytes": "minSize",
  "root_disk.max_size_bytes": "maxSize",
  "root_disk.rotational": "kind",
  "root_disk.overwrite": "overwrite",
  network_config: "network",
  "network_config.address": "address",
  "network_config.gateway": "gateway",
  "network_config.dns": "dns",
  "network_config.links": "links",
  ssh_keys: "sshKeys",
  kernel_arguments: "kernelArguments",
  "tags.notes": "notes",
  setup: "commands",
  "setup.root_password_hash": "rootHash",
  "setup.packages": "packages",
  "setup.commands": "commands",
  "setup.cloud_init": "userData",
  "setup.cloud_init.user_data": "userData",
  "setup.ansible": "ansibleRepository",
  "setup.ansible.repository": "ansibleRepository",
  "setup.ansible.playbook": "ansiblePlaybook",
  "setup.ansible.branch": "ansibleBranch",
  "setup.ansible.inventory": "ansibleInventory",
  "setup.puppet": "puppetServer",
  "setup.puppet.server": "puppetServer",
  "setup.puppet.environment": "puppetEnvironment",
  "setup.puppet.certname": "puppetCertname",
  "setup.timezone": "timezone",
  "setup.locale": "locale",
};

/** The form's field that an error of the API is about; null where there is none. */
export function placeOf(field: string): Name | null {
  const name = field.replace(/^create\./, "");
  const known = API_NAMES[name] ?? API_NAMES[name.replace(/\.\d+$/, "")];
  if (known) return known;
  if (name.startsWith("setup.users")) return "users";
  if (name.startsWith("setup.secrets")) return "secrets";
  if (name.startsWith("setup.ansible.variables")) return "ansibleVariables";
  if (name.startsWith("tags")) return "tags";
  if (name.startsWith("network_config.")) return "links";
  if (name.startsWith("disk_layout.partitions")) return "partitions";
  if (name.startsWith("disk_layout.")) return "layout";
  return name in new Fields() ? (name as Name) : null;
}
