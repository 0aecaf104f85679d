import { button, byId, counted, element, input, say, select } from './dom.js';
import type { GivenFile, LabelMap, NamedMask } from './protocol.js';
import { labelOf, noteDisagreement, saveLabel, serverDataset, serverImage } from './server.js';

/** The cases of the server's dataset: which is open, which comes next, and how masks become the label of one. */
export class Cases {
  /** Id of the case that is open. */
  open: string | undefined;
  private next: string | undefined;

  /** @param take gives files to the page, as if they were dropped */
  constructor(private readonly take: (files: readonly GivenFile[]) => Promise<void>) {}

  /** Shows the cases of a dataset. */
  async connect(name: string): Promise<void> {
    byId('dataset-name').textContent = name;
    byId('cases-row').hidden = false;
    await this.list();
  }

  private async list(): Promise<void> {
    const { cases, next } = await serverDataset();
    this.next = next ?? undefined;
    select('cases').replaceChildren(
      element('option', { value: '' }, 'Open a case…'),
      ...cases.map(({ id, labeled, disagreement }) => {
        const known = labeled
          ? ' (labelled)'
          : disagreement === undefined
            ? ''
            : ` (disagreement ${disagreement.toFixed(2)})`;
        return element('option', { value: id }, `${id}${known}`);
      }),
    );
    select('cases').value = this.open ?? '';
    button('next-case').disabled = this.next === undefined;
    const score = cases.find(({ id }) => id === next)?.disagreement;
    button('next-case').title =
      next === null
        ? 'Every case has a label.'
        : `${next}: ${score === undefined ? 'the first case without a label' : `of the cases without a label that were predicted, the one on which the tasks disagree most (${score.toFixed(2)})`}`;
  }

  /** Opens the case that is chosen in the list. */
  async openChosen(): Promise<void> {
    await this.show(select('cases').value);
  }

  /** Opens the case that is to be labelled next. */
  async openNext(): Promise<void> {
    if (this.next !== undefined) await this.show(this.next);
  }

  private async show(id: string): Promise<void> {
    if (id === '') return;
    await this.take([await serverImage(id)]);
    this.open = id;
    select('cases').value = id;
  }

  /** Tells the server how much the tasks disagreed on the case that is open, which may change what comes next. */
  async note(disagreement: number | undefined): Promise<void> {
    if (this.open === undefined || disagreement === undefined) return;
    await noteDisagreement(this.open, disagreement);
    await this.list();
  }

  /**
   * Saves masks as the label of the case that is open; those that the dataset has no label for are left out.
   * @param paint makes a label map of masks
   */
  async save(masks: readonly NamedMask[], paint: (masks: readonly NamedMask[]) => Promise<LabelMap>): Promise<void> {
    const id = this.open!;
    const { labels } = await serverDataset();
    const known = masks.filter(({ task }) => labelOf(task, labels) !== undefined);
    if (known.length === 0) {
      const names = Object.entries(labels).flatMap(([value, name]) => (value === '0' ? [] : [name]));
      throw new Error(
        `None of these structures is a label of the dataset, which has: ${names.join(', ')}. Predict such a structure, or save the masks as files.`,
      );
    }
    const { bytes, tasks } = await paint(known);
    const names = Object.fromEntries(tasks.map((task, i) => [i + 1, labelOf(task, labels)!]));
    await saveLabel(id, bytes, { names, replace: input('replace').checked });
    const left = masks.length - known.length;
    say(
      `Saved as the label of ${id}.${left === 0 ? '' : ` Left out, as the dataset does not name ${left === 1 ? 'it' : 'them'}: ${counted(left, 'structure')}.`}`,
    );
    await this.list();
  }
}
