import { palette } from '../src/reports/palette.js';
import type { Triple } from '../src/volume/volume.js';
import type { WorkerClient } from './client.js';
import { act, button, byId, element, input, say, select } from './dom.js';
import { Editor } from './editor.js';
import type { Measured, ModelEntry, OpenedScan, Predicted, Preview } from './protocol.js';
import type { Shown, ShownMask, Viewer } from './viewer.js';

export type Tool = 'off' | 'brush' | 'eraser';

/** The structures that were found: their table, how they look, and their correction. */
export class Structures {
  readonly editor = new Editor();
  readonly looks = new Map<string, Shown>();
  private readonly measures = new Map<string, Measured>();
  private scan: OpenedScan | undefined;
  private tool: Tool = 'off';
  private hidden = false;
  private colours: ReadonlyMap<string, string> = new Map();
  /** Called after a mask has changed. */
  onChange: () => void = () => undefined;

  constructor(
    private readonly client: WorkerClient,
    private readonly viewer: Viewer,
  ) {
    viewer.onStroke = act(() => this.changed(this.chosen, this.editor.become(this.chosen, viewer.drawn())));
    select('chosen').onchange = act(() => this.choose(this.chosen));
    input('opacity').oninput = () => this.relook(this.chosen, { opacity: Number(input('opacity').value) });
    for (const tool of ['off', 'brush', 'eraser'] as const) button(`tool-${tool}`).onclick = act(() => this.use(tool));
    button('undo').onclick = act(() => this.undo());
    button('redo').onclick = act(() => this.redo());
    button('grow').onclick = act(() => this.grow());
    input('size').oninput = () => this.sized();
  }

  get chosen(): string {
    return select('chosen').value;
  }

  get tasks(): string[] {
    return [...this.editor.masks.keys()];
  }

  /** Colours that a model's plan names come before those of the palette, as in what `versemi predict` writes. */
  coloursOf({ tasks }: ModelEntry): void {
    this.colours = new Map(tasks.map(({ name, colour }, i) => [name, colour ?? palette[i % palette.length]!]));
  }

  /** Begins anew, with another scan or before another prediction. */
  clear(scan: OpenedScan | undefined): void {
    this.use('off');
    this.scan = scan;
    this.editor.clear();
    this.looks.clear();
    this.measures.clear();
    this.viewer.removeMasks();
    this.table();
  }

  /** Shows what was found so far. */
  preview({ tasks, masks, grid }: Preview): Promise<void> {
    return this.viewer.showMasks(
      tasks.map((task, i) => this.shown(task, masks[i]!)),
      grid,
    );
  }

  private shown(task: string, mask: Uint8Array): ShownMask {
    return { task, mask, shown: this.look(task) };
  }

  async results(predictions: readonly Predicted[]): Promise<void> {
    for (const { task, mask, measured } of predictions) {
      this.editor.masks.set(task, mask);
      this.measures.set(task, measured);
    }
    await this.viewer.showMasks(predictions.map(({ task, mask }) => this.shown(task, mask)));
    this.table();
    const largest = [...this.measures].sort(([, a], [, b]) => b.voxels - a.voxels)[0];
    if (largest !== undefined && largest[1].voxels > 0) this.goTo(largest[0]);
  }

  /** The slice in which a structure is largest. */
  private goTo(task: string): void {
    const mask = this.editor.masks.get(task)!;
    const [sizeX, sizeY, sizeZ] = this.scan!.sizeVoxels;
    const plane = sizeX * sizeY;
    let [most, best] = [0, [0, 0, 0] as Triple];
    for (let z = 0; z < sizeZ; z++) {
      let [count, sumX, sumY] = [0, 0, 0];
      for (let i = 0; i < plane; i++) {
        if (mask[z * plane + i] === 0) continue;
        count++;
        sumX += i % sizeX;
        sumY += Math.floor(i / sizeX);
      }
      if (count > most) [most, best] = [count, [Math.round(sumX / count), Math.round(sumY / count), z]];
    }
    if (most > 0) this.viewer.goTo(best);
  }

  private look(task: string): Shown {
    const known = this.looks.get(task) ?? { colour: this.colours.get(task)!, opacity: 0.5 };
    this.looks.set(task, known);
    return known;
  }

  private relook(task: string, changed: Partial<Shown>): void {
    const look = { ...this.look(task), ...changed };
    this.looks.set(task, look);
    this.viewer.look(task, look);
  }

  toggleHidden(): void {
    this.hidden = !this.hidden;
    this.viewer.setHidden(this.hidden, this.looks);
    say(this.hidden ? 'Masks are hidden.' : 'Masks are shown.');
  }

  choose(task: string): void {
    select('chosen').value = task;
    input('opacity').value = String(this.look(task).opacity);
    for (const row of byId('results').querySelectorAll('tbody tr'))
      row.setAttribute('aria-selected', String((row as HTMLElement).dataset.task === task));
    if (this.tool !== 'off') {
      this.viewer.together(() => {
        this.viewer.stopEdit(this.look(task));
        for (const each of this.tasks) this.viewer.look(each, this.look(each));
        this.use(this.tool);
      });
    }
    this.onChange();
  }

  private table(): void {
    const body = byId('results').querySelector('tbody')!;
    const chosen = this.tasks.includes(this.chosen) ? this.chosen : this.tasks[0];
    body.replaceChildren(...this.tasks.map((task) => this.row(task)));
    if (this.tasks.length === 0)
      body.append(element('tr', { className: 'empty' }, element('td', { colSpan: 4 }, 'Nothing predicted yet.')));
    select('chosen').replaceChildren(...this.tasks.map((task) => element('option', { value: task }, task)));
    const none = chosen === undefined;
    for (const id of ['chosen', 'opacity', 'tool-off', 'tool-brush', 'tool-eraser', 'grow'])
      (byId(id) as HTMLButtonElement).disabled = none;
    if (!none) this.choose(chosen);
    this.buttons();
  }

  private row(task: string): HTMLElement {
    const measured = this.measures.get(task);
    const colour = element('input', { type: 'color', value: this.look(task).colour, ariaLabel: `Colour of ${task}` });
    colour.oninput = () => this.relook(task, { colour: colour.value });
    const row = element(
      'tr',
      {},
      element('td', {}, colour),
      element('td', {}, task),
      element('td', {}, measured === undefined ? '' : measured.volumeMl.toFixed(2)),
      element('td', {}, measured?.meanIntensity == null ? '–' : measured.meanIntensity.toPrecision(4)),
    );
    row.dataset.task = task;
    row.onclick = () => this.choose(task);
    return row;
  }

  private buttons(): void {
    button('undo').disabled = !this.editor.canUndo;
    button('redo').disabled = !this.editor.canRedo;
  }

  private brush(): number {
    return Number(input('size').value);
  }

  private sized(): void {
    byId('size-text').textContent = `${this.brush()} ${this.brush() === 1 ? 'voxel' : 'voxels'}`;
    if (this.tool !== 'off') this.use(this.tool);
  }

  resize(step: number): void {
    const size = Math.max(1, Math.min(41, this.brush() + step));
    input('size').value = String(size);
    this.sized();
  }

  use(tool: Tool): void {
    if (tool !== 'off' && this.tasks.length === 0) return;
    this.tool = tool;
    for (const each of ['off', 'brush', 'eraser'])
      button(`tool-${each}`).setAttribute('aria-pressed', String(each === tool));
    const task = this.chosen;
    if (tool === 'off') {
      if (task !== '') this.viewer.stopEdit(this.look(task));
      return;
    }
    const pen = { erase: tool === 'eraser', sizeVoxels: this.brush() };
    this.viewer.edit(task, this.editor.masks.get(task)!, this.look(task), pen);
  }

  /** Paints or erases at the crosshair. */
  paintHere(): Promise<void> | undefined {
    if (this.tool === 'off' || this.scan === undefined) return undefined;
    const size = { grid: this.scan.sizeVoxels, brush: this.brush() };
    const value = this.tool === 'brush' ? 1 : 0;
    return this.changed(this.chosen, this.editor.paint(this.chosen, this.viewer.crosshair(), size, value));
  }

  async undo(): Promise<void> {
    const task = this.editor.undo();
    if (task !== undefined) await this.changed(task, 1);
  }

  async redo(): Promise<void> {
    const task = this.editor.redo();
    if (task !== undefined) await this.changed(task, 1);
  }

  private async grow(): Promise<void> {
    const [tolerance, radiusMm] = [Number(input('tolerance').value), Number(input('radius').value)];
    const added = await this.client.call('grow', { seed: this.viewer.crosshair(), tolerance, radiusMm });
    const count = this.editor.add(this.chosen, added);
    await this.changed(this.chosen, count);
    say(
      count === 0
        ? 'Nothing was added: every voxel near the crosshair within these values is in the mask.'
        : `${count} voxels were added.`,
    );
  }

  /** Shows and measures a mask after voxels of it have changed. */
  private async changed(task: string, voxels: number): Promise<void> {
    if (voxels === 0) return;
    const mask = this.editor.masks.get(task)!;
    this.viewer.changeMask(task, mask);
    this.buttons();
    this.measures.set(task, await this.client.call('measure', mask));
    const row = [...byId('results').querySelectorAll<HTMLElement>('tbody tr')].find(
      (each) => each.dataset.task === task,
    );
    row?.replaceChildren(...this.row(task).children);
    this.onChange();
  }
}
