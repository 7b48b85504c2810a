// How full the networks of a region are.

/** A network and its leases; a proxy gives no addresses and has no size. */
export interface Filled {
  readonly size?: number;
  readonly leases?: number;
}

/** From this share of its addresses on a network is low; the region's log warns there, too. */
const LOW_AT = 0.9;

/** How many addresses are left for machines. */
export function free({ size = 0, leases = 0 }: Filled): number {
  return Math.max(0, size - leases);
}

/** Whether few addresses are left. */
export function isLow({ size = 0, leases = 0 }: Filled): boolean {
  return size > 0 && leases >= size * LOW_AT;
}
