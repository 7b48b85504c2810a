// MAC addresses as people write them, and the one way in which they are stored.

const BYTE = "[0-9A-Fa-f]{2}";
const SHAPES = new RegExp(
  `^(${[":", "-", ""].map((between) => `${BYTE}(${between}${BYTE}){5}`).join("|")}` +
    `|${BYTE}${BYTE}([.]${BYTE}${BYTE}){2})$`,
);

/** A text that was checked: the value that is meant, or what is wrong. Both empty: nothing yet. */
export interface Checked {
  readonly value: string;
  readonly wrong: string;
}

export const NOTHING: Checked = { value: "", wrong: "" };

/** The address of one NIC in any usual notation; as `52:54:00:12:34:56`. */
export function readMac(text: string): Checked {
  const given = text.trim();
  if (!given) return NOTHING;
  if (!SHAPES.test(given)) {
    return { value: "", wrong: "This is not a MAC address: 12 hexadecimal digits." };
  }
  const digits = given.toLowerCase().replace(/[^0-9a-f]/g, "");
  if (/^0+$/.test(digits)) return { value: "", wrong: "No NIC has the address zero." };
  if (parseInt(digits.slice(0, 2), 16) & 1) {
    return { value: "", wrong: "This is a multicast address; a NIC's second digit is even." };
  }
  return { value: digits.replace(/(..)(?=.)/g, "$1:"), wrong: "" };
}

/** Whether what was typed so far can still become an address: it is not called wrong yet. */
export function isUnfinishedMac(text: string): boolean {
  const given = text.trim();
  return given.length < 17 && /^[0-9A-Fa-f:.-]*$/.test(given) && digitsOf(given) < 12;
}

function digitsOf(text: string): number {
  return text.replace(/[^0-9A-Fa-f]/g, "").length;
}
