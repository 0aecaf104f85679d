// Connected components by runs: a run is a row's maximal stretch of nonzero voxels; runs that touch are joined in a
// union-find forest whose roots are the first runs in raster order. Memory grows with the runs, not with the voxels.

/** Number of runs of a mask [rows, sizeX]. */
export function countRuns(mask: usize, sizeX: i32, rows: i32): i32 {
  let runs = 0;
  for (let row = 0; row < rows; row++) {
    let inside = 0;
    for (let x = 0; x < sizeX; x++) {
      const value = i32(load<u8>(mask + x) != 0);
      runs += value & (inside ^ 1);
      inside = value;
    }
    mask += sizeX;
  }
  return runs;
}

/** begins, ends (i32 per run: first x, last x + 1), rowFirst (i32[rows + 1]: first run of a row), parents (i32 per run). */
export function findRuns(
  mask: usize,
  sizeX: i32,
  rows: i32,
  begins: usize,
  ends: usize,
  rowFirst: usize,
  parents: usize,
): void {
  let run = 0;
  for (let row = 0; row < rows; row++) {
    store<i32>(rowFirst + (<usize>row << 2), run);
    let x = 0;
    while (x < sizeX) {
      while (x + 8 <= sizeX && load<u64>(mask + x) == 0) x += 8;
      while (x < sizeX && load<u8>(mask + x) == 0) x++;
      if (x >= sizeX) break;
      store<i32>(begins + (<usize>run << 2), x);
      while (x < sizeX && load<u8>(mask + x) != 0) x++;
      store<i32>(ends + (<usize>run << 2), x);
      store<i32>(parents + (<usize>run << 2), run);
      run++;
    }
    mask += sizeX;
  }
  store<i32>(rowFirst + (<usize>rows << 2), run);
}

function root(parents: usize, run: i32): i32 {
  let parent = load<i32>(parents + (<usize>run << 2));
  while (parent != run) {
    // Path halving keeps the trees flat.
    const grandparent = load<i32>(parents + (<usize>parent << 2));
    store<i32>(parents + (<usize>run << 2), grandparent);
    run = grandparent;
    parent = load<i32>(parents + (<usize>run << 2));
  }
  return run;
}

/** Joins the runs of two rows that overlap when widened by `reach` (0: faces, 1: diagonals along x too). */
function joinRows(
  begins: usize,
  ends: usize,
  rowFirst: usize,
  parents: usize,
  row: i32,
  other: i32,
  reach: i32,
): void {
  let a = load<i32>(rowFirst + (<usize>row << 2));
  const endA = load<i32>(rowFirst + (<usize>row << 2), 4);
  let b = load<i32>(rowFirst + (<usize>other << 2));
  const endB = load<i32>(rowFirst + (<usize>other << 2), 4);
  while (a < endA && b < endB) {
    const lastA = load<i32>(ends + (<usize>a << 2));
    const lastB = load<i32>(ends + (<usize>b << 2));
    if (load<i32>(begins + (<usize>a << 2)) < lastB + reach && load<i32>(begins + (<usize>b << 2)) < lastA + reach) {
      const rootA = root(parents, a);
      const rootB = root(parents, b);
      if (rootA < rootB) store<i32>(parents + (<usize>rootB << 2), rootA);
      else if (rootB < rootA) store<i32>(parents + (<usize>rootA << 2), rootB);
    }
    if (lastA < lastB) a++;
    else b++;
  }
}

/**
 * Joins touching runs (connectivity 6, 18 or 26), then numbers the components from 1 in raster order of their first
 * voxel: labels i32 per run, sizes u32 per component (room for as many as there are runs). Returns the number of
 * components.
 */
export function joinRuns(
  sizeY: i32,
  sizeZ: i32,
  connectivity: i32,
  begins: usize,
  ends: usize,
  rowFirst: usize,
  parents: usize,
  labels: usize,
  sizes: usize,
): i32 {
  const faceReach = connectivity >= 18 ? 1 : 0;
  const edgeReach = connectivity == 26 ? 1 : 0;
  for (let z = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      const row = z * sizeY + y;
      if (load<i32>(rowFirst + (<usize>row << 2)) == load<i32>(rowFirst + (<usize>row << 2), 4)) continue;
      if (y > 0) joinRows(begins, ends, rowFirst, parents, row, row - 1, faceReach);
      if (z == 0) continue;
      joinRows(begins, ends, rowFirst, parents, row, row - sizeY, faceReach);
      if (connectivity == 6) continue;
      if (y > 0) joinRows(begins, ends, rowFirst, parents, row, row - sizeY - 1, edgeReach);
      if (y + 1 < sizeY) joinRows(begins, ends, rowFirst, parents, row, row - sizeY + 1, edgeReach);
    }
  }
  const runs = load<i32>(rowFirst + (<usize>(sizeY * sizeZ) << 2));
  let components = 0;
  for (let run = 0; run < runs; run++) {
    const first = root(parents, run);
    let label: i32;
    if (first == run) {
      label = ++components;
      store<u32>(sizes + (<usize>(label - 1) << 2), 0);
    } else label = load<i32>(labels + (<usize>first << 2));
    store<i32>(labels + (<usize>run << 2), label);
    const size = sizes + (<usize>(label - 1) << 2);
    const length = load<i32>(ends + (<usize>run << 2)) - load<i32>(begins + (<usize>run << 2));
    store<u32>(size, load<u32>(size) + length);
  }
  return components;
}

/** Writes 1 where a voxel belongs to component `wanted`, else 0, to output u8 [rows, sizeX]. */
export function paintComponent(
  begins: usize,
  ends: usize,
  rowFirst: usize,
  labels: usize,
  rows: i32,
  sizeX: i32,
  wanted: i32,
  output: usize,
): void {
  memory.fill(output, 0, <usize>rows * <usize>sizeX);
  for (let row = 0; row < rows; row++) {
    const at = rowFirst + (<usize>row << 2);
    for (let run = load<i32>(at); run < load<i32>(at, 4); run++) {
      if (load<i32>(labels + (<usize>run << 2)) != wanted) continue;
      const begin = load<i32>(begins + (<usize>run << 2));
      memory.fill(output + begin, 1, load<i32>(ends + (<usize>run << 2)) - begin);
    }
    output += sizeX;
  }
}
