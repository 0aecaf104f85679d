/** The dialogue in which a case is looked at: three planes, a slider through the slices of each, outlines or errors. */
import { element } from '../app/dom.js';
import { type CaseChoice, choice, data, labelled, slicesOf } from './page.js';
import { busiest, type Mode, Plane, planeNames } from './planes.js';
import { readSlices, type Slices } from './slices.js';

const modes: readonly (readonly [mode: Mode, name: string])[] = [
  ['outlines', 'Outlines'],
  ['errors', 'Errors'],
  ['image', 'Image alone'],
];

const legends: Readonly<Record<Mode, readonly (readonly [key: string, text: string])[]>> = {
  outlines: [
    ['reference', 'reference'],
    ['prediction', 'prediction (dashed)'],
  ],
  errors: [
    ['reference', 'missed: in the reference alone'],
    ['prediction', 'added: in the prediction alone'],
    ['agreed', 'in both'],
  ],
  image: [],
};

/** Pixels that a plane may take, and what the rest of the dialogue takes. */
const [planeGap, otherHeight] = [40, 270];

export class Viewer {
  private readonly dialog = element('dialog', { className: 'viewer' });
  private readonly heading = element('h2', { id: 'viewer-heading' });
  private readonly scores = element('p', { className: 'note' });
  private readonly planesPlace = element('div', { className: 'planes' });
  private readonly legend = element('p', { className: 'keys' });
  private readonly choices = element('span', { className: 'choices' });
  private mode: Mode = 'outlines';
  private crosshair = false;
  private slices: Slices | undefined;
  private planes: Plane[] = [];
  private sliders: HTMLInputElement[] = [];
  private labels: HTMLElement[] = [];
  private place: [number, number, number] = [0, 0, 0];
  private task = 0;
  private shown: CaseChoice | undefined;

  constructor() {
    const close = element('button', { type: 'button', className: 'close' }, 'Close');
    close.addEventListener('click', () => this.dialog.close());
    const radios = element('fieldset', { className: 'modes' }, element('legend', { className: 'unseen' }, 'Show'));
    for (const [mode, name] of modes) {
      const radio = element('input', { type: 'radio', name: 'mode', value: mode, checked: mode === this.mode });
      radio.addEventListener('change', () => {
        this.mode = mode;
        this.draw();
      });
      radios.append(element('label', {}, radio, name));
    }
    const cross = element('input', { type: 'checkbox' });
    cross.addEventListener('change', () => {
      this.crosshair = cross.checked;
      this.draw();
    });
    const worst = element('button', { type: 'button' }, 'Most errors');
    worst.title = 'The slices with most voxels that are wrong';
    worst.addEventListener('click', () => this.goTo((reference, prediction) => reference ^ prediction));
    const [previous, next] = (
      [
        ['Previous case', -1],
        ['Next case', 1],
      ] as const
    ).map(([text, step]) => {
      const button = element('button', { type: 'button' }, text);
      button.addEventListener('click', () => this.step(step));
      return button;
    }) as [HTMLButtonElement, HTMLButtonElement];
    this.dialog.setAttribute('aria-labelledby', 'viewer-heading');
    this.dialog.append(
      element('div', { className: 'bar' }, this.heading, previous, next, close),
      element('div', { className: 'tools' }, this.choices, radios, element('label', {}, cross, 'Crosshair'), worst),
      this.scores,
      this.planesPlace,
      this.legend,
    );
    // A click beside the dialogue closes it.
    this.dialog.addEventListener('click', (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    document.body.append(this.dialog);
    addEventListener('resize', () => this.draw());
  }

  /** Opens a case; nothing happens where the page has no slices of it. */
  async show(asked: CaseChoice): Promise<void> {
    const found = slicesOf(asked);
    if (found === undefined) return;
    this.shown = asked;
    this.heading.textContent = asked.dataset === '' ? asked.id : `${asked.id} (${asked.dataset})`;
    if (!this.dialog.open) this.dialog.showModal();
    try {
      const slices = await readSlices(found.element);
      if (this.shown !== asked) return;
      this.slices = slices;
      this.task = Math.max(
        0,
        slices.tasks.findIndex(({ name }) => name === asked.task),
      );
      this.prepare(slices);
      this.goTo((reference, prediction) => reference + prediction);
      this.sliders[0]?.focus();
    } catch (error) {
      this.slices = undefined;
      this.planesPlace.replaceChildren(element('p', { className: 'notice' }, (error as Error).message));
    }
    this.dialog.dataset.shown = asked.id;
  }

  /** The next case of the same run, the worst first. */
  private step(by: number): void {
    const list = data.slices.filter(({ run }) => run === this.shown?.run);
    const at = list.findIndex(({ dataset, id }) => dataset === this.shown?.dataset && id === this.shown.id);
    const next = list[(at + by + list.length) % list.length];
    if (next !== undefined)
      void this.show({ ...next, ...(this.shown?.task === undefined ? {} : { task: this.shown.task }) });
  }

  /** Controls and canvases of a case. */
  private prepare(slices: Slices): void {
    const asked = this.shown!;
    this.choices.replaceChildren();
    const runs = data.runs.map((_, run) => run).filter((run) => slicesOf({ ...asked, run }) !== undefined);
    if (runs.length > 1) {
      const select = choice(
        runs.map((run) => data.runs[run]!.name),
        (i) => void this.show({ ...asked, run: runs[i]! }),
      );
      select.value = String(runs.indexOf(asked.run));
      this.choices.append(labelled('Run', select));
    }
    if (slices.tasks.length > 1) {
      const select = choice(
        slices.tasks.map(({ name }) => name),
        (i) => {
          this.task = i;
          this.shown = { ...asked, task: slices.tasks[i]!.name };
          this.draw();
        },
      );
      select.value = String(this.task);
      this.choices.append(labelled('Task', select));
    }
    this.planes = planeNames.map((_, i) => new Plane(slices, i));
    this.labels = this.planes.map(() => element('output'));
    this.sliders = this.planes.map((plane) => {
      const slider = element('input', { type: 'range', min: '0', max: String(plane.depth - 1), step: '1' });
      slider.setAttribute('aria-label', `${planeNames[plane.index]} slice`);
      slider.addEventListener('input', () => {
        this.place[plane.through] = Number(slider.value);
        this.draw();
      });
      return slider;
    });
    const figures = this.planes.map((plane, i) => {
      plane.canvas.addEventListener('click', ({ offsetX, offsetY }) => {
        const { clientWidth, clientHeight } = plane.canvas;
        this.place = plane.placeAt(this.place[plane.through], offsetX / clientWidth, offsetY / clientHeight);
        this.draw();
      });
      plane.canvas.addEventListener(
        'wheel',
        (event) => {
          event.preventDefault();
          const next = this.place[plane.through] + (event.deltaY > 0 ? 1 : -1);
          this.place[plane.through] = Math.max(0, Math.min(plane.depth - 1, next));
          this.draw();
        },
        { passive: false },
      );
      return element(
        'figure',
        {},
        element('div', { className: 'plane' }, plane.canvas),
        this.sliders[i]!,
        element('figcaption', {}, this.labels[i]!),
      );
    });
    this.planesPlace.replaceChildren(...figures);
  }

  /** To the planes in which the weights of the voxels, whose masks are 0 or 1, have the largest sum. */
  private goTo(weight: (reference: number, prediction: number) => number): void {
    const { slices } = this;
    const task = slices?.tasks[this.task];
    if (slices === undefined || task === undefined) return;
    this.place = busiest(slices.sizeVoxels, (i) => weight(task.reference[i]!, task.prediction[i]!));
    this.draw();
  }

  private draw(): void {
    const { slices } = this;
    if (slices === undefined || !this.dialog.open) return;
    const task = slices.tasks[this.task];
    const width = this.dialog.clientWidth - planeGap - 2 * planeGap;
    const height = Math.max(120, innerHeight - otherHeight);
    // One scale for all three: a length is a length in each.
    const narrow = this.dialog.clientWidth < 700;
    const [widthMm, heightMm] = [
      this.planes.reduce((sum, plane) => (narrow ? Math.max(sum, plane.widthMm) : sum + plane.widthMm), 0),
      this.planes.reduce((most, plane) => Math.max(most, plane.heightMm), 0),
    ];
    const pixelsPerMm = Math.min(width / widthMm, height / heightMm);
    for (const [i, plane] of this.planes.entries()) {
      plane.draw(this.place, task, this.mode, pixelsPerMm, this.crosshair);
      const position = this.place[plane.through];
      this.sliders[i]!.value = String(position);
      this.labels[i]!.textContent = `${planeNames[i]} ${position + 1} of ${plane.depth}`;
    }
    this.legend.replaceChildren(
      ...legends[this.mode].map(([key, text]) =>
        element('span', {}, element('span', { className: `key ${key}` }), text),
      ),
    );
    this.scores.textContent = this.scoresOf(task?.name);
  }

  private scoresOf(task: string | undefined): string {
    const { shown, slices } = this;
    const row = data.runs[shown!.run]!.cases.find(
      (one) => one.dataset === shown!.dataset && one.id === shown!.id && one.task === task,
    );
    const grid = slices!.spacingMm.map((mm) => Number(mm.toFixed(2))).join(' × ');
    const scores = (row?.values ?? []).map((value, i) => {
      const { heading, digits } = data.metrics[i]!;
      return `${heading} ${value === null ? 'undefined' : value.toFixed(digits)}`;
    });
    return `${task ?? ''}: ${scores.join(', ')}. Shown at ${grid} mm; the scores are of the scan itself.`;
  }
}
