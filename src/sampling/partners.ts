/** In which order the draws of a step become its patches, so that patches that are mixed come from one dataset. */

/**
 * For each patch the number of its draw: patches i and i + N / 2 become a pair. Draws of one dataset pair up; what is left of datasets with
 * an odd number of draws, and of an odd batch, follows in its order.
 * @param datasets of each draw
 */
export function pairsOfOneDataset(datasets: readonly string[]): number[] {
  const waiting = new Map<string, number>();
  const pairs: [number, number][] = [];
  for (const [draw, dataset] of datasets.entries()) {
    const first = waiting.get(dataset);
    if (first === undefined) waiting.set(dataset, draw);
    else {
      pairs.push([first, draw]);
      waiting.delete(dataset);
    }
  }
  const left = [...waiting.values()];
  for (let i = 0; i + 1 < left.length; i += 2) pairs.push([left[i]!, left[i + 1]!]);
  const order = [...pairs.map(([first]) => first), ...pairs.map(([, second]) => second)];
  return left.length % 2 === 0 ? order : [...order, left.at(-1)!];
}

/**
 * For each patch the number of its draw: one of the dataset that is wanted beside it, as long as there is one; the others follow in their order.
 * @param datasets of each draw
 * @param wanted dataset of the partner of each patch, as many
 */
export function besidePartners(datasets: readonly string[], wanted: readonly string[]): number[] {
  const free = new Set(datasets.keys());
  const order = wanted.map((dataset) => {
    const draw = [...free].find((one) => datasets[one] === dataset);
    if (draw !== undefined) free.delete(draw);
    return draw;
  });
  const others = [...free];
  return order.map((draw) => draw ?? others.shift()!);
}
