// Voxel loops of the host: resampling, cropping, patches, CutMix, metrics. Grows by re-exports from the folders.
export function heapBase(): usize {
  return __heap_base;
}
