// What the moments of a machine's boots are called in its timeline.

export const MOMENTS: Readonly<Record<string, string>> = {
  "boot.dhcp": "DHCP",
  "boot.address": "Address",
  "boot.loader": "Boot loader",
  "boot.ipxe": "iPXE",
  "boot.script": "Boot script",
  "boot.kernel_asked": "Kernel asked for",
  "boot.kernel": "Kernel sent",
  "boot.initramfs_asked": "Initramfs asked for",
  "boot.initramfs": "Initramfs sent",
  "boot.network": "DHCP of the agent",
  "boot.agent": "Agent",
  "restart.seen": "Seen again",
  "restart.script": "Boot script again",
  "restart.network": "DHCP of the system",
};
