// Geometry of one pass of the convolution engine, and how it is cut into tiles. Everything here follows from the shape
// alone, never from the number of threads, so that results do not depend on it.
//
// A pass computes, for every grid position q of every sample,
//   out[origin + q * outStep] = bias + sum over k, c of in[q * stride + k - pad, c] * weight[k, c, :]
// with input outside the tensor read as 0. Forward convolution, one phase of a transposed convolution, and matrix products
// are passes; `pad` may be negative.

export let samples: i32 = 0;
export let channels: i32 = 0;
export let inDepth: i32 = 0;
export let inHeight: i32 = 0;
export let inWidth: i32 = 0;
export let outChannels: i32 = 0;
export let kernelDepth: i32 = 0;
export let kernelHeight: i32 = 0;
export let kernelWidth: i32 = 0;
export let strideDepth: i32 = 0;
export let strideHeight: i32 = 0;
export let strideWidth: i32 = 0;
export let padDepth: i32 = 0;
export let padHeight: i32 = 0;
export let padWidth: i32 = 0;
export let gridDepth: i32 = 0;
export let gridHeight: i32 = 0;
export let gridWidth: i32 = 0;

// Where results go, in bytes.
export let outOrigin: usize = 0;
export let outStepDepth: usize = 0;
export let outStepHeight: usize = 0;
export let outStepWidth: usize = 0;
export let outStepSample: usize = 0;

export function setInput(n: i32, depth: i32, height: i32, width: i32, c: i32): void {
  samples = n;
  inDepth = depth;
  inHeight = height;
  inWidth = width;
  channels = c;
}

export function setKernel(depth: i32, height: i32, width: i32, c: i32): void {
  kernelDepth = depth;
  kernelHeight = height;
  kernelWidth = width;
  outChannels = c;
}

export function setStride(depth: i32, height: i32, width: i32): void {
  strideDepth = depth;
  strideHeight = height;
  strideWidth = width;
}

export function setPad(depth: i32, height: i32, width: i32): void {
  padDepth = depth;
  padHeight = height;
  padWidth = width;
}

export function setGrid(depth: i32, height: i32, width: i32): void {
  gridDepth = depth;
  gridHeight = height;
  gridWidth = width;
}

/** Grid position (d, h, w) is written at voxel first + position * step of a tensor [depth, height, width, outChannels]. */
export function setOutput(
  depth: i32, height: i32, width: i32,
  firstDepth: i32, firstHeight: i32, firstWidth: i32,
  stepDepth: i32, stepHeight: i32, stepWidth: i32,
): void {
  const voxel = <usize>outChannels << 2;
  const row = <usize>width * voxel;
  const plane = <usize>height * row;
  outStepSample = <usize>depth * plane;
  outOrigin = <usize>firstDepth * plane + <usize>firstHeight * row + <usize>firstWidth * voxel;
  outStepDepth = <usize>stepDepth * plane;
  outStepHeight = <usize>stepHeight * row;
  outStepWidth = <usize>stepWidth * voxel;
}

// --- tiles -----------------------------------------------------------------------------------------------------------

/** Every tap lies inside the input along height and width: voxels are read where they are. */
export const MODE_DIRECT: i32 = 0;
/** The whole input is first copied with its borders (deep layers: small, and read once per group of panels). */
export const MODE_PADDED: i32 = 1;
/** Each tile copies its part of the input, with borders. */
export const MODE_STRIP: i32 = 2;

/** 3 x 3 x 3 kernels with unit stride: minimal filtering (winograd.ts); tile sizes are then in blocks of 2 x 2 x 2 voxels. */
export const MODE_WINOGRAD: i32 = 3;

export let mode: i32 = 0;
/**
 * A tile is `tileRows` x `tileColumns` grid positions of one plane of one sample (less at the ends); with minimal filtering
 * `tileDepths` x `tileRows` x `tileColumns` blocks.
 */
export let tileDepths: i32 = 1;
export let tileRows: i32 = 0;
export let tileColumns: i32 = 0;
export let rowTiles: i32 = 0;
export let columnTiles: i32 = 0;
export let tilesPerSample: i32 = 0;
/** Panels of eight output channels; a work item is one tile x `panelsPerGroup` panels. */
export let panels: i32 = 0;
export let panelsPerGroup: i32 = 0;
export let groups: i32 = 0;
/** Floats of weights per output channel: kernel voxels * channels. */
export let patch: i32 = 0;
/** Rows and columns of input under a full tile, borders included. */
export let stripRows: i32 = 0;
export let stripColumns: i32 = 0;
/** May exceed 32 bits: then the scratch memory cannot be had, and nothing runs. */
export let stripBytes: f64 = 0;
/** Height and width of the padded copy (MODE_PADDED). */
export let paddedHeight: i32 = 0;
export let paddedWidth: i32 = 0;

/** Bytes of input under a tile and of weights of a group: together they fit the level-2 cache of a laptop core. */
const INPUT_BUDGET: f64 = 131072;
const WEIGHT_BUDGET: f64 = 262144;
/** Bytes of the largest padded copy. */
const PADDED_LIMIT: f64 = 33554432;
/** Grid positions of the largest tile. */
const LARGEST_TILE: i32 = 512;
/** Groups are made smaller until a pass has about so many items, so that many threads find work. */
const FEW_ITEMS: i32 = 64;

export function ceilDivide(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}

/** First grid position of the tile that locateTile found (in blocks with minimal filtering). */
export let tileDepth: i32 = 0;
export let tileRow: i32 = 0;
export let tileColumn: i32 = 0;

/** Finds tile `place` of a sample. */
export function locateTile(place: i32): void {
  tileColumn = (place % columnTiles) * tileColumns;
  const rest = place / columnTiles;
  tileRow = (rest % rowTiles) * tileRows;
  tileDepth = (rest / rowTiles) * tileDepths;
}

/** Cuts the pass into tiles and groups. */
export function planTiles(): void {
  flattenPointwise();
  patch = kernelDepth * kernelHeight * kernelWidth * channels;
  panels = ceilDivide(outChannels, 8);
  tileDepths = 1;
  if (planWinograd()) return;
  const panelBytes = <f64>patch * 32;
  panelsPerGroup = max(1, min(panels, <i32>(WEIGHT_BUDGET / max(1, panelBytes))));

  const inside =
    padHeight <= 0 && padWidth <= 0 &&
    (gridHeight - 1) * strideHeight - padHeight + kernelHeight <= inHeight &&
    (gridWidth - 1) * strideWidth - padWidth + kernelWidth <= inWidth;
  paddedHeight = (gridHeight - 1) * strideHeight + kernelHeight;
  paddedWidth = (gridWidth - 1) * strideWidth + kernelWidth;
  const paddedBytes = <f64>samples * inDepth * paddedHeight * paddedWidth * channels * 4;
  if (inside) mode = MODE_DIRECT;
  else if (panelsPerGroup < panels && paddedBytes <= PADDED_LIMIT) mode = MODE_PADDED;
  else mode = MODE_STRIP;

  const copied = mode == MODE_STRIP;
  const channelBytes = <f64>channels * 4;
  // bytes of input that one more column of a tile of one row brings, and one more row of full width
  const columnBytes = channelBytes * kernelDepth * (copied ? kernelHeight : 1) * strideWidth;
  const rowBytes = channelBytes * kernelDepth * strideHeight * paddedWidth;
  const columnLimit = <i32>max(16, min(<f64>LARGEST_TILE, INPUT_BUDGET / columnBytes)) & ~3;
  if (gridWidth > columnLimit) {
    tileRows = 1;
    tileColumns = ceilDivide(ceilDivide(gridWidth, ceilDivide(gridWidth, columnLimit)), 4) * 4;
  } else {
    tileColumns = gridWidth;
    const halo = copied ? kernelHeight - strideHeight : 0;
    const rowLimit = <i32>max(1, min(<f64>(LARGEST_TILE / gridWidth), INPUT_BUDGET / rowBytes - halo));
    tileRows = balancedRows(min(rowLimit, gridHeight));
  }
  rowTiles = ceilDivide(gridHeight, tileRows);
  columnTiles = ceilDivide(gridWidth, tileColumns);
  tilesPerSample = gridDepth * rowTiles * columnTiles;
  stripRows = (tileRows - 1) * strideHeight + kernelHeight;
  stripColumns = (tileColumns - 1) * strideWidth + kernelWidth;

  const tiles = <f64>samples * tilesPerSample;
  panelsPerGroup = max(1, min(panelsPerGroup, <i32>((<f64>panels * tiles) / FEW_ITEMS)));
  groups = ceilDivide(panels, panelsPerGroup);
  stripBytes = copied ? <f64>kernelDepth * stripRows * stripColumns * channels * 4 : 0;
}

/** Bytes of the transformed inputs and products of a tile. */
const WINOGRAD_BUDGET: i32 = 1048576;
/** As FEW_ITEMS, for minimal filtering, whose items are longer. */
const WINOGRAD_ITEMS: i32 = 16;

let plainSums: bool = false;

/** Minimal filtering is never planned from now on: its rounding differs from that of direct sums in the last digits. */
export function usePlainSums(on: bool): void {
  plainSums = on;
}

/** Plans minimal filtering where it applies and saves work: false where it does not. */
function planWinograd(): bool {
  if (plainSums) return false;
  if (kernelDepth != 3 || kernelHeight != 3 || kernelWidth != 3) return false;
  if (strideDepth != 1 || strideHeight != 1 || strideWidth != 1) return false;
  if (channels % 4 != 0 || outChannels % 8 != 0) return false;
  const depths = ceilDivide(gridDepth, 2);
  const rows = ceilDivide(gridHeight, 2);
  const columns = ceilDivide(gridWidth, 2);
  // 64 products per block, and transforms, against 27 per voxel
  if (<f64>depths * rows * columns * 64 > <f64>gridDepth * gridHeight * gridWidth * 16) return false;
  mode = MODE_WINOGRAD;
  const limit = max(16, WINOGRAD_BUDGET / (256 * (channels + outChannels)));
  tileColumns = balanced(columns, limit);
  tileRows = balanced(rows, max(1, limit / tileColumns));
  tileDepths = balanced(depths, max(1, limit / (tileColumns * tileRows)));
  columnTiles = ceilDivide(columns, tileColumns);
  rowTiles = ceilDivide(rows, tileRows);
  tilesPerSample = ceilDivide(depths, tileDepths) * rowTiles * columnTiles;
  const tiles = <f64>samples * tilesPerSample;
  panelsPerGroup = <i32>max(1, min(<f64>panels, (<f64>panels * tiles) / WINOGRAD_ITEMS));
  groups = ceilDivide(panels, panelsPerGroup);
  return true;
}

/** `total` in even pieces of at most `limit`. */
function balanced(total: i32, limit: i32): i32 {
  return ceilDivide(total, ceilDivide(total, min(total, limit)));
}

/** A 1 x 1 x 1 kernel with unit steps sees no rows: one long row per sample makes even tiles. */
function flattenPointwise(): void {
  if (kernelDepth != 1 || kernelHeight != 1 || kernelWidth != 1) return;
  if (strideDepth != 1 || strideHeight != 1 || strideWidth != 1) return;
  if (padDepth != 0 || padHeight != 0 || padWidth != 0) return;
  if (gridDepth != inDepth || gridHeight != inHeight || gridWidth != inWidth) return;
  const voxel = <usize>outChannels << 2;
  if (outStepWidth != voxel || outStepHeight != voxel * gridWidth || outStepDepth != voxel * gridWidth * gridHeight) return;
  const voxels = gridDepth * gridHeight * gridWidth;
  setInput(samples, 1, 1, voxels, channels);
  setGrid(1, 1, voxels);
  outStepHeight = outStepWidth * voxels;
  outStepDepth = outStepHeight;
}

/** At most `limit` rows per tile, evenly, preferring whole blocks of four voxels. */
function balancedRows(limit: i32): i32 {
  const unit = gridWidth % 4 == 0 ? 1 : gridWidth % 2 == 0 ? 2 : 4;
  let rows = ceilDivide(gridHeight, ceilDivide(gridHeight, limit));
  if (rows % unit != 0 && rows > unit) {
    const more = ceilDivide(rows, unit) * unit;
    rows = more <= limit ? more : more - unit;
  }
  return rows;
}

/** Other groups than planned, for a pass that is run in its own way. */
export function setPanelsPerGroup(count: i32): void {
  panelsPerGroup = count;
  groups = ceilDivide(panels, count);
}

/** Scratch bytes that each part needs for this pass (areas in the order of direct.ts). */
export function partBytes(): f64 {
  const voxels = <f64>tileRows * tileColumns + 4;
  return (
    ceil(stripBytes / 64) * 64 +
    ceil(voxels / 8) * 64 +
    ceil(<f64>(kernelDepth * kernelHeight) / 8) * 64 +
    ceil(voxels / 2) * 64
  );
}

/** Scratch bytes of the padded copy; 0 in the other modes. */
export function paddedBytes(): f64 {
  if (mode != MODE_PADDED) return 0;
  return ceil((<f64>samples * inDepth * paddedHeight * paddedWidth * channels * 4) / 64) * 64;
}

/** Scratch bytes of the packed weights of this pass. */
export function packedBytes(): f64 {
  return <f64>panels * patch * 32;
}
