export type { SamplingData } from './cutter.js';
export { createPrefetcher, type Prefetcher, type PrefetcherOptions } from './prefetcher.js';
export type { MixRecipe, PatchAugmentation, PatchRecipe, StepRecipe } from './recipe.js';
export { createSampler, type Sampler, type SamplerOptions } from './sampler.js';
export type { LabeledGroup, MixedGroup, StepBatch, UnlabeledGroup } from './types.js';
