// Sums and order statistics of distances (f64).

/** The k-th smallest (k = 0: the smallest) of `count` numbers, which are rearranged (Hoare's quickselect). */
export function select(data: usize, count: i32, k: i32): f64 {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    // Median of three as pivot: sorted and constant data stay linear.
    const a = load<f64>(data + (<usize>low << 3));
    const b = load<f64>(data + (<usize>((low + high) >>> 1) << 3));
    const c = load<f64>(data + (<usize>high << 3));
    const pivot = max(min(a, b), min(max(a, b), c));
    let i = low;
    let j = high;
    while (i <= j) {
      while (load<f64>(data + (<usize>i << 3)) < pivot) i++;
      while (load<f64>(data + (<usize>j << 3)) > pivot) j--;
      if (i <= j) {
        const left = data + (<usize>i << 3);
        const right = data + (<usize>j << 3);
        const value = load<f64>(left);
        store<f64>(left, load<f64>(right));
        store<f64>(right, value);
        i++;
        j--;
      }
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return load<f64>(data + (<usize>k << 3));
}

/** Smallest of data[from ... count - 1]. */
export function smallest(data: usize, from: i32, count: i32): f64 {
  let result = Infinity;
  for (let i = from; i < count; i++) result = min(result, load<f64>(data + (<usize>i << 3)));
  return result;
}

/** result f64 { sum, maximum, number <= tolerance } of `count` distances. */
export function summarize(data: usize, count: i32, tolerance: f64, result: usize): void {
  let sum = 0.0;
  let largest = 0.0;
  let within = 0;
  for (let i = 0; i < count; i++) {
    const value = load<f64>(data + (<usize>i << 3));
    sum += value;
    largest = max(largest, value);
    within += i32(value <= tolerance);
  }
  store<f64>(result, sum);
  store<f64>(result, largest, 8);
  store<f64>(result, <f64>within, 16);
}
