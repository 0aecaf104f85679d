// Runs one planned pass (geometry.ts): this part's share of the items (group of output panels, tile). A tile's input is
// prepared once per group and then serves all panels of the group, by direct sums (direct.ts) or by minimal filtering
// (winograd.ts).

import { endItem, firstItem } from './call';
import { bindDirect, directOutput, directTable, directVoxels, prepareDirect, sumPanel } from './direct';
import {
  groups, locateTile, mode, MODE_WINOGRAD, outChannels, outOrigin, outStepSample, panels, panelsPerGroup, patch, samples,
  tilesPerSample,
} from './geometry';
import { tileStatistics } from './tile-statistics';
import { bindTile, filteredTable, filteredVoxels, finishPanel, multiply, prepareTile } from './winograd';

/**
 * `input` is the padded copy in MODE_PADDED. `packed`: weights [panel][patch][8], or as packWinograd leaves them; `bias`:
 * panels * 8 floats; `area`: this part's scratch; `statistics`: 0, or where the statistics of each tile go
 * (tile-statistics.ts): sample s, tile t is piece s * statisticsPerSample + statisticsFirst + t.
 */
export function runPass(
  input: usize, packed: usize, bias: usize, output: usize, area: usize,
  statistics: usize, statisticsFirst: i32, statisticsPerSample: i32,
): void {
  const filtered = mode == MODE_WINOGRAD;
  if (filtered) bindTile(area);
  else bindDirect(area);
  const tiles = <usize>samples * <usize>tilesPerSample;
  const total = tiles * <usize>groups;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const tile = <i32>(item % tiles);
    const sample = tile / tilesPerSample;
    const place = tile % tilesPerSample;
    const first = <i32>(item / tiles) * panelsPerGroup;
    const last = min(panels, first + panelsPerGroup);
    let out = output + outOrigin + <usize>sample * outStepSample;
    locateTile(place);
    if (filtered) {
      prepareTile(input, sample);
      multiply(packed, first, last);
    } else {
      prepareDirect(input, sample);
      out += directOutput();
    }
    const table = filtered ? filteredTable() : directTable();
    const voxels = filtered ? filteredVoxels() : directVoxels();
    const piece = sample * statisticsPerSample + statisticsFirst + place;
    for (let panel = first; panel < last; panel++) {
      const data = out + (<usize>panel << 5);
      const start = bias + (<usize>panel << 5);
      const width = min(8, outChannels - panel * 8);
      if (filtered) finishPanel(data, panel - first, start);
      else sumPanel(data, packed + <usize>panel * (<usize>patch << 5), width, start);
      if (statistics != 0) tileStatistics(data, table, voxels, width, statistics, piece, outChannels, panel * 8);
    }
  }
}
