export {
  type CaseMetrics,
  type DistanceName,
  type Distances,
  diceOf,
  distanceNames,
  type MetricOptions,
  type Overlap,
  segmentationMetrics,
} from './segmentation-metrics.js';
export { type CaseResult, type MetricSummary, type Summary, summarize, summarizeValues } from './summary.js';
