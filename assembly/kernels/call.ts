// The call in progress, as every kernel sees it: buffers, attributes, scratch memory, and which part of the work is this
// instance's. Each thread has an instance of its own, so that these globals belong to the thread.
//
// Call block, written by the host (src/tfjs/devices/wasm-device.ts):
//   u32 attribute count, u32 scratch address, f64 attributes[], u32 buffer addresses[]
// The control block, which the threads share, is described in control.ts.

import { CONTROL_ARRIVED, CONTROL_FAILED, CONTROL_GENERATION } from './control';

let attributesAddress: usize = 0;
let buffersAddress: usize = 0;
let control: usize = 0;
let mayWait: bool = false;

/** Scratch memory of the call, 64-byte aligned; as large as `scratchBytes` asked for. */
export let scratch: usize = 0;
/** This thread does part `part` of `parts`; which part computes a number never changes the number. */
export let part: i32 = 0;
export let parts: i32 = 1;

export function bindControl(address: usize, wait: bool): void {
  control = address;
  mayWait = wait;
}

export function bindCall(block: usize, thread: i32, threads: i32): void {
  attributesAddress = block + 8;
  buffersAddress = attributesAddress + (<usize>load<u32>(block) << 3);
  scratch = <usize>load<u32>(block, 4);
  part = thread;
  parts = threads;
}

/** Address of buffer i; 0 where an optional one is absent. */
// @ts-ignore: decorator
@inline
export function buffer(i: i32): usize {
  return <usize>load<u32>(buffersAddress + (<usize>i << 2));
}

/** Address of buffer i, or `other` where it is absent. */
// @ts-ignore: decorator
@inline
export function bufferOr(i: i32, other: usize): usize {
  const address = buffer(i);
  return address != 0 ? address : other;
}

/** Attribute i; the places of attributes and buffers have names in table.ts. */
// @ts-ignore: decorator
@inline
export function attribute(i: i32): f64 {
  return load<f64>(attributesAddress + (<usize>i << 3));
}

/** Attribute i as a whole number (sizes, strides, kinds; checked by the host). */
// @ts-ignore: decorator
@inline
export function integer(i: i32): i32 {
  return <i32>load<f64>(attributesAddress + (<usize>i << 3));
}

/** First of this part's items when `total` items are dealt out evenly and in order. */
// @ts-ignore: decorator
@inline
export function firstItem(total: usize): usize {
  return <usize>((<u64>total * <u64>part) / <u64>parts);
}

/** One past this part's last item. */
// @ts-ignore: decorator
@inline
export function endItem(total: usize): usize {
  return <usize>((<u64>total * <u64>(part + 1)) / <u64>parts);
}

/** As firstItem, with borders between parts on multiples of `unit` items. */
// @ts-ignore: decorator
@inline
export function firstAligned(total: usize, unit: usize): usize {
  return min(total, firstItem((total + unit - 1) / unit) * unit);
}

// @ts-ignore: decorator
@inline
export function endAligned(total: usize, unit: usize): usize {
  return min(total, endItem((total + unit - 1) / unit) * unit);
}

/** Rounds bytes up to whole cache lines, so that areas of two threads never share one. */
// @ts-ignore: decorator
@inline
export function lines(bytes: f64): f64 {
  return ceil(bytes / 64) * 64;
}

/** Waits until every part has called this; what each wrote before is then visible to all. */
export function barrier(): void {
  if (ASC_FEATURE_THREADS) {
    if (parts < 2) return;
    const generation = atomic.load<i32>(control + CONTROL_GENERATION);
    if (atomic.add<i32>(control + CONTROL_ARRIVED, 1) == parts - 1) {
      atomic.store<i32>(control + CONTROL_ARRIVED, 0);
      atomic.store<i32>(control + CONTROL_GENERATION, generation + 1);
      atomic.notify(control + CONTROL_GENERATION, -1);
      return;
    }
    awaitChange(CONTROL_GENERATION, generation);
  }
}

/**
 * Waits while the control word keeps `value`: first spinning, because the other threads are usually microseconds away,
 * then asleep where this thread may sleep. Traps when another thread has failed, because that thread will never arrive.
 */
export function awaitChange(word: usize, value: i32): void {
  if (ASC_FEATURE_THREADS) {
    for (let spins = 0; spins < SPINS; spins++) {
      if (atomic.load<i32>(control + word) != value) return;
    }
    while (atomic.load<i32>(control + word) == value) {
      if (atomic.load<i32>(control + CONTROL_FAILED) != 0) unreachable();
      if (mayWait) atomic.wait<i32>(control + word, value, WAIT_NANOSECONDS);
    }
  }
}

const SPINS: i32 = 4000;
const WAIT_NANOSECONDS: i64 = 200_000_000;
