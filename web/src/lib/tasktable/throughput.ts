// The plot of what was done in the last hours: its bars, its line, and the same by the hour.

export interface Bucket {
  readonly at: string;
  readonly created: number;
  readonly completed: number;
  readonly failed: number;
}
interface Part {
  readonly y: number;
  readonly height: number;
}
export interface Bar {
  readonly at: string;
  readonly x: number;
  readonly width: number;
  readonly completed: Part;
  readonly failed: Part;
}
export interface Chart {
  readonly bars: readonly Bar[];
  /** The points of the line of what was created. */
  readonly line: string;
  /** The most of anything in one bucket. */
  readonly highest: number;
}

const GAP = 0.25;
const HOUR_S = 3600;

/** Bars (failed on completed) and line in a field of this size; the origin is at its top left. */
export function barsOf(buckets: readonly Bucket[], width: number, height: number): Chart {
  const highest = Math.max(0, ...buckets.map((each) => Math.max(each.created, ended(each))));
  const scale = highest ? (height - 2) / highest : 0;
  const step = width / Math.max(buckets.length, 1);
  const bars = buckets
    .map((each, number) => ({ each, x: number * step }))
    .filter(({ each }) => ended(each) > 0)
    .map(({ each, x }) => {
      const completed = each.completed * scale;
      const failed = each.failed * scale;
      return {
        at: each.at,
        x: rounded(x + (step * GAP) / 2),
        width: rounded(step * (1 - GAP)),
        completed: { y: rounded(height - completed), height: rounded(completed) },
        failed: { y: rounded(height - completed - failed), height: rounded(failed) },
      };
    });
  const line = buckets
    .map(
      (each, number) =>
        `${rounded((number + 0.5) * step)},${rounded(height - each.created * scale)}`,
    )
    .join(" ");
  return { bars, line, highest };
}

/** The buckets put together by the hour, the newest first. */
export function byHour(buckets: readonly Bucket[], bucketS: number): Bucket[] {
  const each = Math.max(1, Math.round(HOUR_S / bucketS));
  const hours: Bucket[] = [];
  for (let end = buckets.length; end > 0; end -= each) {
    const part = buckets.slice(Math.max(0, end - each), end);
    hours.push(part.reduce((sum, one) => ({ ...added(sum, one), at: sum.at })));
  }
  return hours;
}

function added(a: Bucket, b: Bucket): Omit<Bucket, "at"> {
  return {
    created: a.created + b.created,
    completed: a.completed + b.completed,
    failed: a.failed + b.failed,
  };
}

function ended(bucket: Bucket): number {
  return bucket.completed + bucket.failed;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
