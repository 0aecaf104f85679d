import type { WorkerClient } from './client.js';
import { act, byId, element, say, select } from './dom.js';
import type { GivenFile, ModelEntry, TaskFitting } from './protocol.js';
import { serverModel, serverModels } from './server.js';

const serverPrefix = 'server:';

/** The list of models, and the structures that the chosen one finds. */
export class Models {
  private readonly entries: ModelEntry[] = [];
  private offered: readonly string[] = [];
  /** Called when another model or other structures are chosen. */
  onChange: () => Promise<void> = async () => undefined;

  /** @param take gives files to the page, as if they were dropped */
  constructor(
    private readonly client: WorkerClient,
    private readonly take: (files: readonly GivenFile[]) => Promise<void>,
  ) {
    select('models').onchange = act(() => this.choose());
  }

  get chosen(): ModelEntry | undefined {
    return this.entries.find(({ id }) => String(id) === select('models').value);
  }

  /** Names of the structures that are ticked. */
  get tasks(): string[] {
    return [...byId('tasks').querySelectorAll<HTMLInputElement>('input:checked')].map(({ value }) => value);
  }

  /** Adds models, and chooses the last of them. */
  async add(models: readonly ModelEntry[]): Promise<void> {
    if (models.length === 0) return;
    this.entries.push(...models);
    this.list();
    select('models').value = String(models.at(-1)!.id);
    await this.choose();
  }

  /** Lists the models of the server, and fetches the first where the page has none. */
  async offer(): Promise<void> {
    this.offered = (await serverModels()).map(({ name }) => name);
    this.list();
    if (this.offered.length > 0 && this.entries.length === 0) await this.choose();
  }

  private list(): void {
    const options = [
      ...this.entries.map(({ id, name }) => element('option', { value: String(id) }, name)),
      ...this.offered.map((name) => element('option', { value: serverPrefix + name }, `${name} (of the server)`)),
    ];
    if (options.length === 0) return;
    select('models').disabled = false;
    select('models').replaceChildren(...options);
  }

  private async choose(): Promise<void> {
    const { value } = select('models');
    if (value.startsWith(serverPrefix)) {
      const name = value.slice(serverPrefix.length);
      say(`Fetching ${name}…`);
      const blob = await serverModel(name);
      this.offered = this.offered.filter((other) => other !== name);
      return this.take([{ name: `${name}.safetensors`, blob }]);
    }
    await this.judge();
  }

  /** Ticks the structures whose datasets the open scan is like, all where no scan is open; the others are listed with the reason. */
  async judge(): Promise<void> {
    const model = this.chosen;
    byId('tasks').hidden = model === undefined;
    if (model !== undefined) this.show(model, await this.client.call('fits', model.id));
    await this.onChange();
  }

  private show({ tasks }: ModelEntry, fits: readonly TaskFitting[]): void {
    const fitting: HTMLElement[] = [];
    const others: HTMLElement[] = [];
    for (const dataset of new Set(tasks.map((task) => task.dataset))) {
      const own = tasks.filter((task) => task.dataset === dataset);
      const reason = fits.find(({ task }) => task === own[0]!.name)?.reason ?? '';
      const boxes = own.map(({ name }) => {
        const box = element('input', { type: 'checkbox', name: 'task', value: name, checked: reason === '' });
        box.onchange = act(() => this.onChange());
        return element('label', { title: `from ${dataset}` }, box, ` ${name}`);
      });
      if (reason === '') fitting.push(...boxes);
      else others.push(...boxes, element('small', { className: 'misfit' }, `${capital(reason)}.`));
    }
    const count = others.filter(({ tagName }) => tagName === 'LABEL').length;
    const which = fitting.length === 0 ? `All ${count} are` : `${count} more,`;
    const unlike = element('summary', {}, `${which} of scans unlike this one`);
    byId('tasks').replaceChildren(
      element('legend', {}, 'Structures to find'),
      ...fitting,
      ...(count === 0 ? [] : [element('details', { open: fitting.length === 0 }, unlike, ...others)]),
    );
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
