import { AppendedFile } from '../appended-file.js';
import { formatDuration } from '../duration-text.js';
import { visibleName } from '../visible-text.js';
import { eventText, stepText } from './event-text.js';
import type { TrainingEvent } from './events.js';

/** Time between two lines about steps. */
const betweenStepsMs = 60_000;

/**
 * train.log of a run: what people are told of it, with the time of day, for a run whose terminal is gone. It grows with every part
 * of the run: nothing is ever cut off, so that it also tells of steps that were done again.
 */
export class TextLog {
  private readonly file: AppendedFile;
  private steps = 0;
  private lastStepMs = Number.NEGATIVE_INFINITY;

  /**
   * @param clock milliseconds that only grow, see `TrainOptions.clock`
   * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
   */
  constructor(
    file: string,
    private readonly clock: () => number,
  ) {
    this.file = new AppendedFile(file);
  }

  /** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
  write(event: TrainingEvent): void {
    if (event.type === 'start') this.steps = event.steps;
    if (event.type === 'step') {
      const now = this.clock();
      if (event.step < this.steps && now - this.lastStepMs < betweenStepsMs) return;
      this.lastStepMs = now;
      this.line(stepText(event, this.steps));
    } else if (event.type === 'checkpoint') this.line(`step ${event.step}: ${event.file} written`);
    else if (event.type === 'end') {
      const time = formatDuration(event.seconds);
      if (event.reason === 'finished') this.line(`Finished after ${event.step} steps, ${time}: ${event.model}`);
      else this.line(`Stopped after step ${event.step}, ${time}; versemi train --resume goes on.`);
    } else for (const text of eventText(event)) this.line(text);
  }

  /** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
  line(text: string): void {
    this.file.append(`${new Date().toISOString().slice(0, 19)}Z ${visibleName(text)}\n`);
  }

  sync(): void {
    this.file.sync();
  }

  close(): void {
    this.file.close();
  }
}
