// How far a region's copy of the control plane's images is.

/** What is on its way, in bytes. */
export interface Arriving {
  readonly size_bytes: number;
  readonly done_bytes?: number;
}

/** How much of it is there, in whole per cent; it is 100 only when all is. */
export function percent({ size_bytes, done_bytes = 0 }: Arriving): number {
  return size_bytes > 0 ? Math.min(100, Math.floor((100 * done_bytes) / size_bytes)) : 0;
}
