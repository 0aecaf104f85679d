import { WorkerClient, WorkerError } from './client.js';
import { act, button, byId, clearError, download, element, input, say, select, showError } from './dom.js';
import { chosenFiles, droppedFiles } from './given-files.js';
import { wireKeys } from './keys.js';
import type { GivenFile, ModelEntry, NamedMask, OpenedScan, SavedFile, ScanEntry } from './protocol.js';
import { type SaveFormat, saveFormats } from './protocol.js';
import { labelOf, saveLabel, serverDataset, serverImage, serverInfo, serverModel, serverModels } from './server.js';
import { Structures } from './structures.js';
import { channels, Viewer } from './viewer.js';

const client = new WorkerClient();
const viewer = new Viewer(byId<HTMLCanvasElement>('canvas'));
const structures = new Structures(client, viewer);
const scans: ScanEntry[] = [];
const models: ModelEntry[] = [];
let scan: OpenedScan | undefined;
let scanId: number | undefined;
let predicting = false;
/** Case of the server's dataset that is open. */
let openCase: string | undefined;

/** Grey values from black to white, in Hounsfield units. */
const windows: Readonly<Record<string, readonly [number, number]>> = {
  'soft-tissue': [-160, 240],
  lung: [-1350, 150],
  bone: [-450, 1050],
};

const formatNames: Readonly<Record<SaveFormat, string>> = {
  nifti: 'NIfTI, one per structure',
  labels: 'NIfTI label map',
  nrrd: 'NRRD, one per structure',
  seg: 'DICOM SEG',
  rtstruct: 'DICOM RTSTRUCT',
};

async function take(files: readonly GivenFile[]): Promise<void> {
  if (files.length === 0) return;
  say(`Reading ${files.length} ${files.length === 1 ? 'file' : 'files'}…`);
  const found = await client.call('take', files).catch((error: unknown) => {
    say('The files were not taken.');
    throw error;
  });
  scans.push(...found.scans);
  models.push(...found.models);
  if (found.scans.length > 0) listScans();
  if (found.models.length > 0) {
    listModels();
    select('models').value = String(found.models.at(-1)!.id);
    await chooseModel();
  }
  const what = [counted(found.scans.length, 'scan'), counted(found.models.length, 'model')].filter(
    (text) => text !== '',
  );
  say([what.length === 0 ? 'Nothing to open.' : `Found ${what.join(' and ')}.`, ...found.notices].join(' '));
  if (what.length === 0 && found.notices.length > 0) showError(new Error(found.notices.join(' ')));
  if (found.scans.length === 1) await openScan(found.scans[0]!);
}

function counted(count: number, name: string): string {
  return count === 0 ? '' : `${count} ${name}${count === 1 ? '' : 's'}`;
}

function listScans(): void {
  byId('scans').replaceChildren(
    ...scans.map((entry) => {
      const item = element(
        'button',
        { type: 'button', title: entry.name },
        element('span', {}, entry.name),
        element('small', {}, entry.facts),
      );
      item.onclick = act(() => openScan(entry));
      item.setAttribute('aria-current', String(entry.id === scanId));
      return element('li', {}, item);
    }),
  );
}

async function openScan(entry: ScanEntry): Promise<void> {
  if (predicting) throw new Error('A prediction is running. Cancel it before you open another scan.');
  say(`Opening ${entry.name}…`);
  openCase = undefined;
  structures.clear(undefined);
  viewer.clear();
  scan = undefined;
  scanId = undefined;
  controls();
  try {
    const opened = await client.call('open', entry.id);
    await viewer.show(opened);
    scan = opened;
    scanId = entry.id;
    select('window').value = opened.isCt ? 'soft-tissue' : 'automatic';
    chooseWindow();
    structures.clear(opened);
    resetReference();
    const spacing = opened.spacingMm.map((mm) => mm.toFixed(2)).join(' × ');
    say([`${entry.name}: ${opened.sizeVoxels.join(' × ')} voxels of ${spacing} mm.`, ...opened.notices].join(' '));
  } catch (error) {
    say(`${entry.name} was not opened.`);
    throw error;
  } finally {
    listScans();
    controls();
  }
  await estimate();
}

function chooseWindow(): void {
  const [low, high] = windows[select('window').value] ?? scan!.automaticWindow;
  viewer.setWindow(low, high);
}

const serverPrefix = 'server:';
let offered: readonly string[] = [];

function listModels(): void {
  const options = [
    ...models.map(({ id, name }) => element('option', { value: String(id) }, name)),
    ...offered.map((name) => element('option', { value: serverPrefix + name }, `${name} (of the server)`)),
  ];
  if (options.length === 0) return;
  select('models').disabled = false;
  select('models').replaceChildren(...options);
}

async function chooseModel(): Promise<void> {
  const { value } = select('models');
  if (value.startsWith(serverPrefix)) {
    const name = value.slice(serverPrefix.length);
    say(`Fetching ${name}…`);
    offered = offered.filter((other) => other !== name);
    return take([{ name: `${name}.safetensors`, blob: await serverModel(name) }]);
  }
  const model = models.find(({ id }) => String(id) === value);
  byId('tasks').hidden = model === undefined;
  if (model !== undefined) {
    const boxes = model.tasks.map(({ name, dataset }) => {
      const box = element('input', { type: 'checkbox', name: 'task', value: name, checked: true });
      box.onchange = act(estimate);
      return element('label', { title: `from ${dataset}` }, box, ` ${name}`);
    });
    byId('tasks').replaceChildren(element('legend', {}, 'Structures to find'), ...boxes);
  }
  controls();
  await estimate();
}

function wanted() {
  const model = models.find(({ id }) => String(id) === select('models').value);
  const boxes = [...byId('tasks').querySelectorAll<HTMLInputElement>('input:checked')];
  const tasks = boxes.map(({ value }) => value);
  if (model === undefined || scan === undefined || tasks.length === 0) return undefined;
  return { model: model.id, tasks, maxMemoryBytes: Number(select('memory').value) * 1e9 };
}

async function estimate(): Promise<void> {
  controls();
  const what = wanted();
  if (what === undefined || predicting) {
    if (!predicting) byId('estimate').textContent = 'Choose a scan, a model and structures.';
    return;
  }
  try {
    byId('estimate').textContent = `Memory: about ${(await client.call('estimate', what)).text}.`;
  } catch (error) {
    const tooMuch = error instanceof WorkerError && error.code === 'VERSEMI_MEMORY_LIMIT';
    byId('estimate').textContent = tooMuch ? 'Too large for this memory limit.' : 'This cannot be predicted.';
    button('predict').disabled = true;
    throw error;
  }
}

async function predict(): Promise<void> {
  const what = wanted();
  if (what === undefined) return;
  predicting = true;
  structures.clear(scan);
  controls();
  const began = performance.now();
  let preview: Promise<void> | undefined;
  try {
    const { predictions, threads } = await client.call('predict', what, {
      onProgress: ({ window, windows, pass, passes, preview: found }) => {
        input('progress').value = String((pass + window / windows) / passes);
        say(`Window ${window} of ${windows}${passes === 1 ? '' : `, pass ${pass + 1} of ${passes}`}…`);
        // A picture that is late is left out.
        if (found !== undefined && preview === undefined)
          preview = structures.preview(found.tasks, found.masks).finally(() => {
            preview = undefined;
          });
      },
    });
    await preview;
    await structures.results(predictions);
    const seconds = (performance.now() - began) / 1000;
    say(`Predicted in ${seconds.toFixed(1)} s with ${threads} ${threads === 1 ? 'thread' : 'threads'}.`);
  } catch (error) {
    await preview;
    structures.clear(scan);
    if (!(error instanceof WorkerError && error.code === 'VERSEMI_ABORTED')) {
      say('The prediction failed.');
      throw error;
    }
    say('The prediction was cancelled. Nothing was kept.');
  } finally {
    predicting = false;
    byId<HTMLProgressElement>('progress').value = 0;
    controls();
  }
}

/** What can be done now is enabled, and nothing else. */
function controls(): void {
  const found = structures.tasks.length > 0;
  button('predict').disabled = predicting || wanted() === undefined;
  button('cancel').disabled = !predicting;
  select('window').disabled = scan === undefined;
  button('choose-reference').disabled = scan === undefined;
  button('save').disabled = !found || predicting;
  select('format').disabled = !found;
  for (const option of select('format').options)
    option.disabled = (option.value === 'seg' || option.value === 'rtstruct') && scan?.isDicom !== true;
  if (select('format').selectedOptions[0]?.disabled === true) select('format').value = 'nifti';
  byId('label-row').hidden = openCase === undefined;
  button('save-label').disabled = !found || predicting;
}

function resetReference(): void {
  select('label').replaceChildren();
  select('label').disabled = true;
  byId('metrics').replaceChildren();
}

async function takeReference(file: GivenFile | undefined): Promise<void> {
  if (file === undefined) return;
  if (scan === undefined) throw new Error('Open a scan before its reference mask.');
  const { name, labels } = await client.call('reference', file);
  select('label').replaceChildren(
    element('option', { value: '0' }, 'all'),
    ...labels.map((label) => element('option', { value: String(label) }, String(label))),
  );
  select('label').disabled = false;
  say(`${name} is the reference.`);
  await compare();
}

/** Dice and distances of the chosen structure against the reference. */
async function compare(): Promise<void> {
  const mask = structures.editor.masks.get(structures.chosen);
  if (select('label').disabled || mask === undefined) return byId('metrics').replaceChildren();
  const metrics = await client.call('compare', { mask, label: Number(select('label').value) });
  const rows: readonly (readonly [string, string])[] = [
    ['Dice', metrics.dice.toFixed(3)],
    ['95 % Hausdorff distance', metrics.hd95MaxMm === null ? 'undefined' : `${metrics.hd95MaxMm.toFixed(2)} mm`],
    [`Surface Dice at ${metrics.surfaceDiceToleranceMm} mm`, metrics.surfaceDice.toFixed(3)],
    ['Volume of the reference', `${metrics.volumeReferenceMl.toFixed(2)} ml`],
  ];
  byId('metrics').replaceChildren(
    ...rows.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  );
}

function masksToSave() {
  return structures.tasks.map((task) => {
    const { colour } = structures.looks.get(task)!;
    return { task, colour: channels(colour), data: structures.editor.masks.get(task)! };
  });
}

async function files(format: SaveFormat, masks: readonly NamedMask[] = masksToSave()) {
  const model = models.find(({ id }) => String(id) === select('models').value)?.name ?? 'versemi';
  return client.call('save', { format, model, masks, deidentify: input('deidentify').checked });
}

async function save(): Promise<void> {
  say('Writing…');
  const written = await files(select('format').value as SaveFormat);
  for (const { name, bytes } of written) download(name, bytes);
  say(`Saved ${written.map(({ name }) => name).join(', ')}.`);
}

async function saveIntoDataset(): Promise<void> {
  const { labels } = await serverDataset();
  const masks = masksToSave();
  const known = masks.flatMap((mask) => {
    const label = labelOf(mask.task, labels);
    return label === undefined ? [] : [{ mask, label }];
  });
  if (known.length === 0) {
    const names = Object.entries(labels).flatMap(([value, name]) => (value === '0' ? [] : [name]));
    throw new Error(
      `None of these structures is a label of the dataset, which has: ${names.join(', ')}. Predict such a structure, or save the masks as files.`,
    );
  }
  const [{ bytes }] = (await files(
    'labels',
    known.map(({ mask }) => mask),
  )) as readonly [SavedFile];
  const names = Object.fromEntries(known.map(({ label }, i) => [i + 1, label]));
  await saveLabel(openCase!, bytes, { names, replace: input('replace').checked });
  const left = masks.length - known.length;
  say(
    `Saved as the label of ${openCase}.${left === 0 ? '' : ` Left out, as the dataset does not name ${left === 1 ? 'it' : 'them'}: ${counted(left, 'structure')}.`}`,
  );
  await listCases();
}

async function listCases(): Promise<void> {
  const { cases } = await serverDataset();
  select('cases').replaceChildren(
    element('option', { value: '' }, 'Open a case…'),
    ...cases.map(({ id, labeled }) => element('option', { value: id }, labeled ? `${id} (labelled)` : id)),
  );
}

async function openServerCase(): Promise<void> {
  const id = select('cases').value;
  if (id === '') return;
  const image = await serverImage(id);
  await take([image]);
  openCase = id;
  controls();
}

async function connect(): Promise<void> {
  const info = await serverInfo();
  if (info === undefined) return;
  offered = (await serverModels()).map(({ name }) => name);
  listModels();
  if (offered.length > 0 && models.length === 0) await chooseModel();
  if (info.dataset === null) return;
  byId('dataset-name').textContent = info.dataset;
  byId('cases-row').hidden = false;
  await listCases();
}

function wire(): void {
  button('choose-files').onclick = () => input('files').click();
  button('choose-folder').onclick = () => input('folder').click();
  button('choose-reference').onclick = () => input('reference').click();
  input('files').onchange = act(() => take(chosenFiles(input('files'))));
  input('folder').onchange = act(() => take(chosenFiles(input('folder'))));
  input('reference').onchange = act(() => takeReference(chosenFiles(input('reference'))[0]));
  select('models').onchange = act(chooseModel);
  select('cases').onchange = act(openServerCase);
  select('memory').onchange = act(estimate);
  select('window').onchange = act(chooseWindow);
  input('radiological').onchange = () => viewer.setRadiological(input('radiological').checked);
  button('predict').onclick = act(predict);
  button('cancel').onclick = act(() => client.call('cancel', null));
  select('label').onchange = act(compare);
  button('save').onclick = act(save);
  button('save-label').onclick = act(saveIntoDataset);
  button('error-close').onclick = clearError;
  button('help-button').onclick = () => byId<HTMLDialogElement>('help').showModal();
  button('help-close').onclick = () => byId<HTMLDialogElement>('help').close();
  select('format').replaceChildren(
    ...saveFormats.map((format) => element('option', { value: format }, formatNames[format])),
  );
  structures.onChange = act(() => {
    controls();
    return compare();
  });
  viewer.onPlace = ([x, y, z], value) => {
    byId('place').textContent = `voxel ${x}, ${y}, ${z} · value ${Number(value.toPrecision(6))}`;
  };
  wireKeys(viewer, structures);
  wireDrop();
}

function wireDrop(): void {
  addEventListener('dragover', (event) => {
    event.preventDefault();
    byId('drop').hidden = false;
  });
  addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) byId('drop').hidden = true;
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    byId('drop').hidden = true;
    const onReference = (event.target as Element).closest('[aria-labelledby="reference-title"]') !== null;
    const given = droppedFiles(event.dataTransfer!);
    act(async () => (onReference ? takeReference((await given)[0]) : take(await given)))();
  });
}

wire();
act(async () => {
  await viewer.start();
  document.body.dataset.ready = 'true';
  await connect();
})();
