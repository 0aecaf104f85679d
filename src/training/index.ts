export type { TrainingData } from './data.js';
export type {
  CaseEvent,
  CheckpointEvent,
  EndEvent,
  LogEvent,
  StartEvent,
  StepEvent,
  TrainingEvent,
  ValidationEvent,
} from './events.js';
export type { Validator } from './run.js';
export { runFiles } from './run-folder.js';
export { type TrainOptions, train } from './train.js';
