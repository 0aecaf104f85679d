// Voxel loops of the host: resampling, cropping, patches, CutMix, window accumulation, metrics.

export * from './random';
export * from './volume/resample';
export * from './volume/reorient';
export * from './volume/intensity';
export * from './volume/labels';
export * from './volume/mask';
export * from './volume/slab';
export * from './volume/preprocess';
export * from './sampling/patch';
export * from './sampling/warp';
export * from './metrics/components';
export * from './metrics/distance';
export * from './metrics/order';

/** First address after the module's static data. */
export function heapBase(): usize {
  return __heap_base;
}
